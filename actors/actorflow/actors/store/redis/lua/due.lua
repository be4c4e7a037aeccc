--[[ Read the rows of reminders that are due in a window, earliest first.

KEYS: 1 due, 2 reminders. ARGV: 1 lowest and 2 highest score, as ZRANGEBYSCORE takes them, 3 how many
to pass over, 4 how many to read.
]]
local members = redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[1], ARGV[2], 'LIMIT', ARGV[3], ARGV[4])
if #members == 0 then return {} end
return redis.call('HMGET', KEYS[2], unpack(members))
