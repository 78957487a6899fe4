-- A proxy says goodbye. KEYS: replicas. ARGV: who.
return redis.call('ZREM', KEYS[1], ARGV[1])
