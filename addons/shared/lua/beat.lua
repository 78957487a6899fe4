-- A proxy says that it is there. KEYS: replicas. ARGV: now, who, lease. Returns whether it was known to be.
local now = moment(ARGV[1])
local until_then = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[2]) or 0)
-- Redis may write to a disk whatever is changed, so a lease is not renewed with each beat.
if until_then - now < ARGV[3] * 2 / 3 then
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now))
  redis.call('ZADD', KEYS[1], whole(now + ARGV[3]), ARGV[2])
  redis.call('PEXPIRE', KEYS[1], 86400000)
end
return until_then > now and 1 or 0
