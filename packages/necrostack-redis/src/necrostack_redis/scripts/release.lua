-- Hands back entries that a worker did not start: others may take them at once, with their count unchanged.
--
-- KEYS: 1 events, 2 inbox, 3 bell
-- ARGV: 1 group, 2 consumer, 3 the consumer that holds what was handed back,
--       then for each entry 1 or 2 (its stream, as in KEYS) and its id
-- Returns: how many were handed back; those that are not the worker's any more are left alone
local group, me, released, count = ARGV[1], ARGV[2], ARGV[3], 0
for at = 4, #ARGV, 2 do
  local stream, id = KEYS[tonumber(ARGV[at])], ARGV[at + 1]
  local pending = redis.call('XPENDING', stream, group, id, id, 1, me)
  if #pending > 0 then
    redis.call('XCLAIM', stream, group, released, 0, id, 'JUSTID')
    count = count + 1
  end
end
if count > 0 then redis.call('XADD', KEYS[3], 'MAXLEN', 1, '*', 'rung', '') end
return count
