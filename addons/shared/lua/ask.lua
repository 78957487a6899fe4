-- Takes what a request wants, or takes nothing and says what is over: Allowance.ask and .gauges.
-- ARGV: now, who, number, tokens, slot; the limits of requests, tokens, parallel ('' for none).
-- Returns what is over (0 nothing, 1 requests, 2 tokens, 3 parallel, -1 this proxy has no lease), what was asked, again in; left
-- and full in of requests, then of tokens.
local now = moment(ARGV[1])
local lease = redis.call('ZSCORE', KEYS[4], ARGV[2])
if not lease or tonumber(lease) <= now then
  return {-1, 0, 0, 0, 0, 0, 0}
end
local expected, slot = tonumber(ARGV[4]), tonumber(ARGV[5])
local per_requests, per_tokens, parallel = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])

local over, asked, again = 0, 1, 0
local used = per_requests and requests_used(now) or 0
local entries, taken = {}, 0
local held, slots = 0, 0
if per_tokens then
  entries, taken = tokens_used(now)
  expected = math.min(expected, per_tokens)
end
if per_tokens or (parallel and slot == 1) then
  held, slots = under_way(now)
end

if per_requests and used >= per_requests then
  over, again = 1, requests_free_in(per_requests, used, now)
elseif per_tokens and taken + held + expected > per_tokens then
  over, asked, again = 2, expected, SOON
  if held + expected <= per_tokens then
    again = tokens_free_in(entries, taken, held + expected, per_tokens, now)
  end
elseif parallel and slot == 1 and slots >= parallel then
  over, again = 3, SOON
else
  if per_tokens or (parallel and slot == 1) then
    local value = (per_tokens and whole(expected) or '-') .. ' ' .. ((parallel and slot == 1) and 1 or 0)
    redis.call('HSET', KEYS[3], ARGV[2] .. '/' .. ARGV[3], value)
    redis.call('PEXPIRE', KEYS[3], DAY)
    held = held + (per_tokens and expected or 0)
  end
  if per_requests then
    take_request(now)
    used = used + 1
  end
end

local tokens_left, tokens_full_in = 0, 0
if per_tokens then
  tokens_left = math.max(0, per_tokens - taken - held)
  if held > 0 then
    tokens_full_in = PERIOD
  elseif taken > 0 then
    tokens_full_in = math.max(0, entries[#entries].last + PERIOD - now)
  end
end
return {
  over,
  asked,
  again,
  math.max(0, (per_requests or 0) - used),
  per_requests and requests_empty_in(now) or 0,
  tokens_left,
  tokens_full_in,
}
