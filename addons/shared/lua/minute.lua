-- What a key has used of its minute: the rules of limits.py, in microseconds. KEYS of all scripts that need it:
--   1 requests  list of the moments at which requests were let in
--   2 tokens    list of "since until amount"; tokens of one second are one entry
--   3 held      hash of what is under way: "proxy/number" -> "tokens slot", with - for tokens that nobody limits
--   4 replicas  the proxies that are there, by the end of their lease
local PERIOD, GRAIN, SOON = 60000000, 1000000, 1000000
-- Longer than any request is under way; by then its proxy has written here again, or is not there.
local DAY = 86400000

-- What lies more than a minute ahead is of a clock that was set back since.
local function is_over(at, now)
  return at + PERIOD <= now or at > now + PERIOD
end

local function requests_used(now)
  local oldest = redis.call('LINDEX', KEYS[1], 0)
  while oldest and is_over(tonumber(oldest), now) do
    redis.call('LPOP', KEYS[1])
    oldest = redis.call('LINDEX', KEYS[1], 0)
  end
  return redis.call('LLEN', KEYS[1])
end

local function requests_free_in(limit, used, now)
  -- Entries are one request each, so the one to wait for is at a known place.
  local last_in_the_way = redis.call('LINDEX', KEYS[1], used - limit)
  return math.max(0, tonumber(last_in_the_way) + PERIOD - now)
end

local function requests_empty_in(now)
  local latest = redis.call('LINDEX', KEYS[1], -1)
  return latest and math.max(0, tonumber(latest) + PERIOD - now) or 0
end

local function take_request(now)
  redis.call('RPUSH', KEYS[1], whole(now))
  redis.call('PEXPIRE', KEYS[1], PERIOD / 1000 + 1000)
end

local function entry_of(text)
  local since, last, amount = string.match(text, '^(%S+) (%S+) (%S+)$')
  return {since = tonumber(since), last = tonumber(last), amount = tonumber(amount)}
end

-- The entries that still count, and their sum.
local function tokens_used(now)
  local entries, taken = {}, 0
  for _, text in ipairs(redis.call('LRANGE', KEYS[2], 0, -1)) do
    local entry = entry_of(text)
    if #entries == 0 and is_over(entry.last, now) then
      redis.call('LPOP', KEYS[2])
    else
      entries[#entries + 1] = entry
      taken = taken + entry.amount
    end
  end
  return entries, taken
end

local function tokens_free_in(entries, taken, amount, limit, now)
  for _, entry in ipairs(entries) do
    taken = taken - entry.amount
    if taken + amount <= limit then
      return math.max(0, entry.last + PERIOD - now)
    end
  end
  return 0
end

local function take_tokens(amount, now)
  if amount <= 0 then
    return
  end
  local latest = redis.call('LINDEX', KEYS[2], -1)
  local entry = latest and entry_of(latest)
  if entry and now - entry.since < GRAIN and not is_over(entry.last, now) then
    redis.call('RPOP', KEYS[2])
    entry.last, entry.amount = math.max(now, entry.last), entry.amount + amount
  else
    entry = {since = now, last = now, amount = amount}
  end
  redis.call('RPUSH', KEYS[2], whole(entry.since) .. ' ' .. whole(entry.last) .. ' ' .. whole(entry.amount))
  redis.call('PEXPIRE', KEYS[2], (PERIOD + GRAIN) / 1000 + 1000)
end

-- Tokens and slots of all that is under way. What a proxy held that is not there any more is thrown away.
local function under_way(now)
  local tokens, slots, alive = 0, 0, {}
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '(' .. whole(now), '+inf')) do
    alive[id] = true
  end
  local held = redis.call('HGETALL', KEYS[3])
  for at = 1, #held, 2 do
    if alive[string.match(held[at], '^[^/]+')] then
      local expected, slot = string.match(held[at + 1], '^(%S+) (%S+)$')
      tokens = tokens + (tonumber(expected) or 0)
      slots = slots + tonumber(slot)
    else
      redis.call('HDEL', KEYS[3], held[at])
    end
  end
  return tokens, slots
end
