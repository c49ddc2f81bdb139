-- What is on a board, if it has changed.
-- KEYS: the board. ARGV: 'true' when the next is its word as it was read last, that word, a new word, how long the board is kept
-- (milliseconds), and the name that stands for all others.
-- Answers the time (milliseconds since 1970), whether the board held something else (1 or 0), the word, and names and moments in
-- turns: none when the word is the same.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local kind, spoilt = redis.call('TYPE', KEYS[1]).ok, 0
if kind ~= 'hash' and kind ~= 'none' then
  -- Nobody knows what was on it: rather too much than too little.
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], ARGV[5], string.format('%.0f', now), '', ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
  spoilt = 1
end
local word = redis.call('HGET', KEYS[1], '') or ''
if ARGV[1] == 'true' and word == ARGV[2] then return { now, spoilt, word, {} } end
if string.find(word, '%W') then
  word, spoilt = ARGV[3], 1
  redis.call('HSET', KEYS[1], '', word)
end
local all, fields = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  local name, moment = all[i], all[i + 1]
  if name ~= '' then
    if not string.find(moment, '^%d+$') or #moment > 15 then
      -- It was purged, and nobody knows when.
      moment, spoilt = string.format('%.0f', now), 1
      redis.call('HSET', KEYS[1], name, moment)
    end
    fields[#fields + 1] = name
    fields[#fields + 1] = moment
  end
end
return { now, spoilt, word, fields }
