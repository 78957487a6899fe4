-- Microseconds. Tests give the time themselves; all else goes by the clock of Redis, which is one for all.
local function moment(given)
  if given ~= '' then
    return tonumber(given)
  end
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function whole(number)
  return string.format('%.0f', number)
end
