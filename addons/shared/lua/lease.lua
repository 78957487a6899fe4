-- One of all may do something for a while. KEYS: the lease. ARGV: who, milliseconds. Returns whether it is this one; to ask again renews.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
