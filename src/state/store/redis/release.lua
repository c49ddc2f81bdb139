-- A lease ends, if it is still the one that was taken.
-- KEYS: the lease. ARGV: what it was taken with.
if redis.call('MGET', KEYS[1])[1] == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
