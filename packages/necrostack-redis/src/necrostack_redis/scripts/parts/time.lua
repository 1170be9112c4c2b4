-- The server's clock, in microseconds and in milliseconds since 1970. Workers' clocks differ; this one is the same for all.
local function microseconds()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function milliseconds()
  return math.floor(microseconds() / 1000)
end

-- A large number as text: tostring would write 1.7e+12.
local function whole(number)
  return string.format('%.0f', number)
end
