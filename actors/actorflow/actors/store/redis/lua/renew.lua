--[[ Extend a lease, and tell where the commits stand, so that a store that lost its tail is noticed
while the partition is idle.

KEYS: 1 meta. ARGV: 1 epoch, 2 token, 3 time to live in ms.
]]
local m = redis.call('HMGET', KEYS[1], 'epoch', 'owner', 'seq')
if m[1] ~= ARGV[1] or m[2] ~= ARGV[2] or ARGV[2] == '' then return {'FENCED', m[1] or ''} end
local t = redis.call('TIME')
local until_ms = t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[3]
redis.call('HSET', KEYS[1], 'ttl', ARGV[3], 'until', string.format('%.0f', until_ms))
return {'OK', m[3]}
