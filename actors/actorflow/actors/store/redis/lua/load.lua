--[[ Read actors: one consistent state of each.

KEYS: for each actor its state and its log. ARGV: 1 log entries to read in all, "0" for none.
Answers for each actor: nothing, or {fields and values, log length, first log entries}.
]]
local left = tonumber(ARGV[1])
local found = {}
for i = 1, #KEYS, 2 do
  local state = redis.call('HGETALL', KEYS[i])
  if #state == 0 then
    found[#found + 1] = false
  else
    local length = redis.call('LLEN', KEYS[i + 1])
    local log = {}
    if left > 0 and length > 0 then
      log = redis.call('LRANGE', KEYS[i + 1], 0, left - 1)
      left = left - #log
    end
    found[#found + 1] = {state, length, log}
  end
end
return found
