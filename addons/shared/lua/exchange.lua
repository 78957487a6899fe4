-- News for news: what one proxy has learned since it asked last, and what the others have. The later fact of each name stays (facts.py).
-- KEYS: facts (hash: name -> "at by sealed"), versions (zset: name -> version), count (hash: epoch, version).
-- ARGV: epoch and version that the asker knows ('' and 0 at first), how many facts are kept; then name, at, by, sealed of each.
-- Returns epoch, version, and name and "at by sealed" of each fact that changed since.
local MONTH = 32 * 86400000
local epoch = redis.call('HGET', KEYS[3], 'epoch')
if not epoch then
  -- A Redis that lost everything counts anew, and whoever asks learns that it did.
  epoch = whole(moment(''))
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[3], 'epoch', epoch, 'version', 0)
end

local function parts(text)
  local at, by = string.match(text, '^(%S+) (%S+) ')
  return tonumber(at), by
end

for index = 4, #ARGV, 4 do
  local name, at, by = ARGV[index], tonumber(ARGV[index + 1]), ARGV[index + 2]
  local kept = redis.call('HGET', KEYS[1], name)
  local kept_at, kept_by
  if kept then
    kept_at, kept_by = parts(kept)
  end
  if not kept or at > kept_at or (at == kept_at and by > kept_by) then
    redis.call('HSET', KEYS[1], name, ARGV[index + 1] .. ' ' .. by .. ' ' .. ARGV[index + 3])
    redis.call('ZADD', KEYS[2], redis.call('HINCRBY', KEYS[3], 'version', 1), name)
  end
end

-- Those that changed longest ago go first.
local too_many = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[3])
if too_many > 0 then
  local gone = redis.call('ZPOPMIN', KEYS[2], too_many)
  for index = 1, #gone, 2 do
    redis.call('HDEL', KEYS[1], gone[index])
  end
end
if #ARGV > 3 then
  for _, key in ipairs(KEYS) do
    redis.call('PEXPIRE', key, MONTH)
  end
end

local since = ARGV[1] == epoch and ARGV[2] or '0'
local told = {epoch, redis.call('HGET', KEYS[3], 'version')}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. since, '+inf')) do
  told[#told + 1] = name
  told[#told + 1] = redis.call('HGET', KEYS[1], name)
end
return told
