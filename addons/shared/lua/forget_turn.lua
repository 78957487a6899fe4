-- ARGV: now, turn. Returns whether there was one. It stays a part of what was said after it; who asks for it hears that it is deleted.
local told = read(ARGV[2])
if not told then
  -- A proxy may have it in memory alone; the others must not bring it here later.
  write(ARGV[2], {children = 0, deleted = true, size = 0, items = ''})
  redis.call('ZADD', KEYS[3], whole(moment(ARGV[1])), ARGV[2])
  return 0
end
local was_there = not told.deleted
told.deleted = true
let_go_of_items(ARGV[2], told)
write(ARGV[2], told)
if told.children == 0 and told.size > 0 then
  silence(ARGV[2], told)
end
return was_there and 1 or 0
