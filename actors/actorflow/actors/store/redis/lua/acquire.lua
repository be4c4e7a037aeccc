--[[ Take a partition under a new, higher epoch, unless a lease of another owner runs.

KEYS: 1 meta. ARGV: 1 token, 2 time to live in ms, 3 cluster id.
The clock is the store's; the stored epoch keeps it rising when that clock jumps back. An owner that
has not released the partition has abandoned it: see `lease.abandoned_now`.
]]
local m = redis.call('HMGET', KEYS[1], 'epoch', 'owner', 'until', 'seq', 'number', 'message', 'cluster',
  'abandoned')
if m[7] ~= ARGV[3] then return {'LOST', m[7] or ''} end
local t = redis.call('TIME')
local now_ms = t[1] * 1000 + math.floor(t[2] / 1000)
if m[2] ~= '' and m[2] ~= ARGV[1] and tonumber(m[3]) > now_ms then
  return {'HELD', m[2], string.format('%.0f', m[3] - now_ms), m[1]}
end
local epoch = string.format('%.0f', math.max(m[1] + 1, now_ms))
local abandoned = tonumber(m[8] or '0')
if m[2] == '' then abandoned = 0
elseif m[2] ~= ARGV[1] then abandoned = now_ms - m[1] >= 60000 and 1 or abandoned + 1 end
redis.call('HSET', KEYS[1], 'epoch', epoch, 'owner', ARGV[1], 'ttl', ARGV[2],
  'until', string.format('%.0f', now_ms + ARGV[2]), 'abandoned', abandoned)
return {'OWN', epoch, m[4], m[5], m[6], abandoned}
