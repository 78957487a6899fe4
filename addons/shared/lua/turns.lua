-- What all scripts of turns.py need. KEYS:
--   1 said    hash: turn -> what was said, sealed
--   2 told    hash: turn -> "previous children deleted size item..."; stays for a while when the turn is deleted, so that proxies
--             which have it in memory hear of that
--   3 used    zset: turn -> when it was used last; a turn always comes before those that it went on from
--   4 items   hash: item -> the latest turn with it
--   5 bytes   of all that is said
-- A turn is kept as long as another goes on from it, as in kept.py.
local function read(turn)
  local text = redis.call('HGET', KEYS[2], turn)
  if not text then
    return nil
  end
  local previous, children, deleted, size, rest = string.match(text, '^(%S+) (%S+) (%S+) (%S+)(.*)$')
  return {
    previous = previous ~= '-' and previous or nil,
    children = tonumber(children),
    deleted = deleted == '1',
    size = tonumber(size),
    items = rest,
  }
end

local function write(turn, told)
  local text = table.concat(
    {told.previous or '-', told.children, told.deleted and 1 or 0, whole(told.size)},
    ' '
  )
  redis.call('HSET', KEYS[2], turn, text .. told.items)
end

local function let_go_of_items(turn, told)
  for item in string.gmatch(told.items, '%S+') do
    if redis.call('HGET', KEYS[4], item) == turn then
      redis.call('HDEL', KEYS[4], item)
    end
  end
  told.items = ''
end

-- What was said is gone, and so is that of deleted turns before it that nothing else goes on from.
local function silence(turn, told)
  while told do
    redis.call('HDEL', KEYS[1], turn)
    redis.call('DECRBY', KEYS[5], whole(told.size))
    told.size = 0
    local before = told.previous
    told.previous = nil
    write(turn, told)
    turn, told = before, before and read(before)
    if told then
      told.children = told.children - 1
      write(turn, told)
      if told.children > 0 or not told.deleted or told.size == 0 then
        told = nil
      end
    end
  end
end

local function drop(turn)
  local told = read(turn)
  if told then
    let_go_of_items(turn, told)
    silence(turn, told)
    redis.call('HDEL', KEYS[2], turn)
  end
  redis.call('ZREM', KEYS[3], turn)
end

-- A microsecond apart, so that the end of a conversation is the first to go and its beginning is never missing.
local function use(turn, now)
  local at = now
  while turn do
    local told = read(turn)
    if not told then
      return
    end
    redis.call('ZADD', KEYS[3], 'GT', whole(at), turn)
    turn, at = told.previous, at + 1
  end
end

local function make_room(now, lifetime, most)
  while true do
    local oldest = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
    if #oldest == 0 then
      return
    end
    local is_old = tonumber(oldest[2]) + lifetime <= now
    if not is_old and tonumber(redis.call('GET', KEYS[5]) or '0') <= most then
      return
    end
    drop(oldest[1])
  end
end
