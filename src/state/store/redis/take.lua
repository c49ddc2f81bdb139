-- Takes from every key or from none: GCRA as in gcra.rs, on the server's clock.
-- KEYS: one per rule. ARGV, five per rule: price and capacity (microseconds), whether the rule is enforced, the debt that
-- the gateway knows of, and whether it let calls through by itself since (1 or 0).
-- Answers: now, then per rule whether it fits, the debt, and the wait (microseconds), and whether its key held something else.
local time = redis.call('TIME')
-- Counted from 2026 on, a double holds nanoseconds of it for years.
local now = (time[1] - 1767225600) * 1000000 + time[2]
local known = redis.call('MGET', unpack(KEYS))
local paid, prices, capacities, writes, fits, spoilt, admitted = {}, {}, {}, {}, {}, {}, true
for i = 1, #KEYS do
  local at = (i - 1) * 5
  local capacity, debt = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 4])
  local price = math.min(tonumber(ARGV[at + 1]), capacity)
  local moment = tonumber(known[i] or '')
  -- More than this is never owed: the clock was set back, or the value is not ours.
  local is_past_all = moment and moment > now + 10 * capacity
  -- A key lives as long as anybody may owe: when it is gone while a gateway remembers a debt, the store lost its data.
  if not moment or moment ~= moment or is_past_all then
    -- MGET finds nothing where a key is of another type. A year is more than clocks are set back.
    local is_odd = known[i] and not (is_past_all and moment < now + 3e13)
    spoilt[i] = (is_odd or not known[i] and redis.call('EXISTS', KEYS[i]) == 1) and 1 or 0
    writes[i] = debt > 0 or known[i] or spoilt[i] == 1
    moment = now + debt
  elseif ARGV[at + 5] == '1' and now + debt > moment then
    moment = now + debt
    writes[i] = true
  end
  moment = math.max(now, math.min(moment, now + 10 * capacity))
  -- A hundredth of a microsecond is for the rounding of doubles.
  fits[i] = moment + price - now <= capacity + 0.01
  if not fits[i] and ARGV[at + 3] == '1' then admitted = false end
  paid[i], prices[i], capacities[i] = moment, price, capacity
end
local answer = { now }
for i = 1, #KEYS do
  local wait = 0
  if not fits[i] then wait = math.ceil(paid[i] + prices[i] - now - capacities[i]) end
  if admitted and fits[i] then
    paid[i] = paid[i] + prices[i]
    writes[i] = true
  end
  if writes[i] then
    local ttl = math.ceil(math.max(capacities[i], paid[i] - now) / 1000) + 1000
    redis.call('SET', KEYS[i], string.format('%.3f', paid[i]), 'PX', string.format('%.0f', ttl))
  end
  answer[#answer + 1] = fits[i] and 1 or 0
  answer[#answer + 1] = math.max(0, math.ceil(paid[i] - now))
  answer[#answer + 1] = wait
  answer[#answer + 1] = spoilt[i] or 0
end
return answer
