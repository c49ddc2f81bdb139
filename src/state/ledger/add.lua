-- Adds a batch of rows to a period, once: a batch whose number was seen already is ignored.
-- KEYS: the last number of the writer, and the period's hash. ARGV: the batch's number, how long that is remembered
-- (milliseconds), how long the hash is kept after that (milliseconds), how many names a row has, a letter for each of its numbers,
-- and how many rows there may be before each further name is used; then per row its names, from all details to few, and its numbers.
-- Answers whether it was added, or known, and whether a key held something else (1 or 0).
local number = tonumber(ARGV[1])
if number <= (tonumber(redis.call('MGET', KEYS[1])[1] or '0') or 0) then return { 0, 0 } end
local kind, spoilt = redis.call('TYPE', KEYS[2]).ok, 0
if kind ~= 'hash' and kind ~= 'none' then
  redis.call('DEL', KEYS[2])
  spoilt = 1
end
-- A sum that is not a number restarts. The batch must not be left half-added: it would be added again.
local function add(field, value)
  local sum = redis.pcall('HINCRBY', KEYS[2], field, value)
  if type(sum) == 'table' and sum.err then
    redis.call('HSET', KEYS[2], field, value)
    spoilt = 1
  end
end
local names, letters = tonumber(ARGV[4]), ARGV[5]
local at = 5 + names
local rows = tonumber(redis.call('HGET', KEYS[2], '#') or '0') or 0
while at <= #ARGV do
  local name, is_new = nil, false
  for i = 0, names - 1 do
    name = ARGV[at + i]
    is_new = redis.call('HEXISTS', KEYS[2], 'c' .. name) == 0
    if not is_new or i == names - 1 or rows < tonumber(ARGV[6 + i]) then break end
  end
  if is_new then
    rows = rows + 1
    add('#', 1)
  end
  for i = 1, #letters do
    local value = ARGV[at + names + i - 1]
    -- The first letter says that there is such a row.
    if value ~= '0' or i == 1 then add(letters:sub(i, i) .. name, value) end
  end
  at = at + names + #letters
end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return { 1, spoilt }
