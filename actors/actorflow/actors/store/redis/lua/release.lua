--[[ Give a partition up. Harmless when it is no longer ours.

KEYS: 1 meta. ARGV: 1 epoch, 2 token, 3 who owns it then: nobody by default.
]]
local m = redis.call('HMGET', KEYS[1], 'epoch', 'owner')
if m[1] ~= ARGV[1] or m[2] ~= ARGV[2] or ARGV[2] == '' then return {'FENCED', m[1] or ''} end
redis.call('HSET', KEYS[1], 'owner', ARGV[3] or '', 'until', '0')
return {'OK'}
