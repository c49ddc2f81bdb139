-- A lease goes on, if it is still the one that was taken.
-- KEYS: the lease. ARGV: what it was taken with, and how long it goes on (milliseconds).
if redis.call('MGET', KEYS[1])[1] == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
