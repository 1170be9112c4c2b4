-- How many events a group has not read; nil if there is no such group. Servers before 7.0 do not keep count, and later
-- ones lose it for a group that began in the middle. So it is found out here: of all events that there ever were, those
-- that are forgotten were settled by every group. Whoever settles or forgets some counts them, in the step that does it.
local function unread(events, groups, group)
  local settled = redis.call('HGET', groups, 'settled:' .. group)
  local pending = of_group('XPENDING', events, group)
  if not settled or not pending then return nil end
  local forgotten = redis.call('HGET', groups, 'forgotten') or 0
  return math.max(redis.call('XLEN', events) + forgotten - settled - pending[1], 0)
end

-- How many entries of a stream were handed over and not settled, and how many of those were handed back.
local function handed_over(stream, group, released)
  local summary = of_group('XPENDING', stream, group)
  if not summary then return 0, 0 end
  for _, consumer in ipairs(summary[4] or {}) do
    if consumer[1] == released then return summary[1], tonumber(consumer[2]) end
  end
  return summary[1], 0
end

-- How many entries a group can pull, given how many events it has not read, and how many were pulled and not settled.
local function queued(new, events, inbox, group, released)
  local live, live_released = handed_over(events, group, released)
  local again, again_released = handed_over(inbox, group, released)
  -- What was settled is not in the inbox any more: what is not pending there was not read.
  local waiting = new + live_released + redis.call('XLEN', inbox) - again + again_released
  return waiting, live - live_released + again - again_released
end
