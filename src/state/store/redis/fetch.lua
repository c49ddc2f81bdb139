-- Bytes are read, where they may be ours: what is of another type, or larger than anything that is kept, is removed.
-- KEYS: where they are kept. ARGV: how many there may be.
-- Answers the bytes, or nothing; no bytes at all where the key held something else.
local length = redis.pcall('STRLEN', KEYS[1])
if type(length) ~= 'number' or length > tonumber(ARGV[1]) then
  redis.call('UNLINK', KEYS[1])
  return ''
end
return redis.call('GET', KEYS[1])
