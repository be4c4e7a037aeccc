--[[ Note that a host lives, forget those that were silent for long, and tell who is there. Ages are
by the server's clock, so that the hosts' clocks do not matter.

KEYS: 1 members. ARGV: 1 host, 2 what it says of itself, 3 silence in ms after which a host is forgotten.
]]
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local answer, gone = {}, {}
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now) .. ' ' .. ARGV[2])
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local at, info = string.match(all[i + 1], '^(%d+) (.*)$')
  local age = now - tonumber(at)
  if age > tonumber(ARGV[3]) then
    gone[#gone + 1] = all[i]
  else
    answer[#answer + 1] = all[i]
    answer[#answer + 1] = string.format('%.0f', age)
    answer[#answer + 1] = info
  end
end
for i = 1, #gone do redis.call('HDEL', KEYS[1], gone[i]) end
return answer
