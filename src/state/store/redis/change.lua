-- Puts, replaces or removes one text, if it is as it was read: two operators at once must not undo what the other has done.
-- KEYS: the map. ARGV: the text's name, what it was read as, what it is to be ('' removes it), and a new word: it stands under the
-- empty name, and tells that something has changed.
-- Answers 1, or 0 where it is not as it was read, or 2 where the key is of another type.
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' and kind ~= 'none' then return 2 end
local now = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if now ~= ARGV[2] then return 0 end
if ARGV[3] == '' then redis.call('HDEL', KEYS[1], ARGV[1])
else redis.call('HSET', KEYS[1], ARGV[1], ARGV[3]) end
redis.call('HSET', KEYS[1], '', ARGV[4])
return 1
