-- What a proxy has under way of this key, said again. KEYS: held. ARGV: who, then number and value of each.
for at = 2, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[1] .. '/' .. ARGV[at], ARGV[at + 1])
end
redis.call('PEXPIRE', KEYS[1], 86400000)
return 1
