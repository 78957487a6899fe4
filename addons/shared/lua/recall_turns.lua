-- ARGV: now, lifetime, bytes that the answer may have; then kind, name and had of each: t for a turn, i for an item, and whether the
-- asker has the turn in memory. Returns a list of the fates (0 not there, 1 there, 2 deleted, 3 too long), then of each turn that was
-- not had, and of all before it: turn, previous ('' for none), what was said. What comes later goes on from what comes earlier.
local now, most = moment(ARGV[1]), tonumber(ARGV[3])
make_room(now, tonumber(ARGV[2]), math.huge)
local fates, told, brought = {}, {}, {}
for at = 4, #ARGV, 3 do
  local turn = ARGV[at + 1]
  if ARGV[at] == 'i' then
    turn = redis.call('HGET', KEYS[4], turn)
  end
  local found = turn and read(turn)
  local fate = (not found and 0) or (found.deleted and 2) or 1
  if fate == 1 then
    use(turn, now)
    local chain, each = {}, turn
    while ARGV[at + 2] == '0' and each and not brought[each] do
      chain[#chain + 1] = each
      brought[each] = true
      local here = read(each)
      most = most - here.size
      each = here.previous
    end
    if most < 0 then
      fate, chain = 3, {}
    end
    for step = #chain, 1, -1 do
      told[#told + 1] = chain[step]
      told[#told + 1] = read(chain[step]).previous or ''
      told[#told + 1] = redis.call('HGET', KEYS[1], chain[step])
    end
  end
  fates[#fates + 1] = fate
end
table.insert(told, 1, fates)
return told
