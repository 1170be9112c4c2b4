-- A field of a reply that is a flat list of names and values.
local function field(reply, name)
  for i = 1, #reply, 2 do
    if reply[i] == name then return reply[i + 1] end
  end
end

-- How many entries of a stream a group has not read; nil if there is no such group. Servers before 7.0 do not keep
-- count, and later ones lose it at times: then they are counted here, up to a thousand.
local function unread(stream, group)
  if redis.call('EXISTS', stream) == 0 then return nil end
  for _, found in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    if field(found, 'name') == group then
      local lag = field(found, 'lag')
      if lag then return lag end
      return #redis.call('XRANGE', stream, '(' .. field(found, 'last-delivered-id'), '+', 'COUNT', 1000)
    end
  end
end
