-- ARGV: now, lifetime, bytes in all; turn, previous ('' for none), what was said, whether it comes for the sake of one after it, its
-- items. Returns whether it is kept: not if the turn before it is not there, which then has to be brought first.
local now, turn, previous = moment(ARGV[1]), ARGV[4], ARGV[5]
local there = read(turn)
-- A deleted turn comes back only as a part of what was said after it, and nobody can ask for it.
local comes_back = there and there.size == 0 and ARGV[7] == '1'
if not there or comes_back then
  local before = nil
  if previous ~= '' then
    before = read(previous)
    if not before or before.size == 0 then
      return 0
    end
    before.children = before.children + 1
    write(previous, before)
  end
  local items = ''
  for at = 8, comes_back and 0 or #ARGV do
    items = items .. ' ' .. ARGV[at]
    redis.call('HSET', KEYS[4], ARGV[at], turn)
  end
  write(turn, {
    previous = before and previous,
    children = 0,
    deleted = comes_back and true,
    size = #ARGV[6],
    items = items,
  })
  redis.call('HSET', KEYS[1], turn, ARGV[6])
  redis.call('INCRBY', KEYS[5], #ARGV[6])
end
use(turn, now)
make_room(now, tonumber(ARGV[2]), tonumber(ARGV[3]))
for _, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, whole(tonumber(ARGV[2]) / 1000))
end
return 1
