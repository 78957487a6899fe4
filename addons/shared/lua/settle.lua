-- A request is over: Allowance.settle. ARGV: now, who, number, what it used ('' if nobody knows). Returns whether it was under way.
local field = ARGV[2] .. '/' .. ARGV[3]
local value = redis.call('HGET', KEYS[3], field)
if not value then
  return 0
end
redis.call('HDEL', KEYS[3], field)
local expected = tonumber(string.match(value, '^%S+'))
if expected then
  take_tokens(tonumber(ARGV[4]) or expected, moment(ARGV[1]))
end
return 1
