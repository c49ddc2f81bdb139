-- Reserves in every account or in none, and adds the gateway's pending corrections.
-- KEYS: one per account. ARGV: the latest time for it (milliseconds, 0: any), as nobody waits for the answer after that and what
-- was taken would stay taken; then, six per account: the amount and the cost (nanodollars), whether it is enforced, what was not told,
-- what the gateway knew to be spent, and how long the account is kept (milliseconds).
-- Answers the time and, unless it is too late, per account, whether the cost fits, what was spent before, and whether its key held
-- something else. Below 9 million dollars doubles are exact; sums are added by INCRBY, which always is.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[1] ~= '0' and now > tonumber(ARGV[1]) then return { now } end
local before, fits, spoilt, admitted = {}, {}, {}, true
for i = 1, #KEYS do
  local at = (i - 1) * 6 + 1
  local known = redis.call('MGET', KEYS[i])[1]
  -- A account is there until its end: when it is gone while a gateway remembers what was spent, the store lost its data. What is
  -- no sum is none either; MGET finds nothing where a key is of another type.
  local is_sum = known and #known <= 18 and string.find(known, '^%-?%d+$')
  if not is_sum then
    spoilt[i] = (known or redis.call('EXISTS', KEYS[i]) == 1) and 1 or 0
    redis.call('SET', KEYS[i], ARGV[at + 5], 'PX', ARGV[at + 6])
  end
  local spent = redis.call('INCRBY', KEYS[i], ARGV[at + 4])
  if spent < 0 then
    redis.call('INCRBY', KEYS[i], string.format('%.0f', -spent))
    spent = 0
  end
  before[i] = spent
  fits[i] = spent + tonumber(ARGV[at + 2]) <= tonumber(ARGV[at + 1])
  if not fits[i] and ARGV[at + 3] == '1' then admitted = false end
end
local answer = { now }
for i = 1, #KEYS do
  if admitted then redis.call('INCRBY', KEYS[i], ARGV[(i - 1) * 6 + 3]) end
  answer[#answer + 1] = fits[i] and 1 or 0
  answer[#answer + 1] = before[i]
  answer[#answer + 1] = spoilt[i] or 0
end
return answer
