--[[ Read the summaries of actors that match.

KEYS: for each actor its state and its log. ARGV: 1 phase, 2 label: "" for any, else "=" and the text.
3 and 4: bounds of the time of creation, "" for none. They are compared as doubles, so they come
widened; the caller compares exactly.
Answers for each actor: nothing, or {number, log length, phase, summary}.
]]
local from_ms, to_ms = tonumber(ARGV[3]), tonumber(ARGV[4])
local function matches(phase, summary)
  if not summary then return ARGV[1] == '' and ARGV[2] == '' and not from_ms and not to_ms end
  if ARGV[1] ~= '' and ARGV[1] ~= '=' .. phase then return false end
  local created, length, rest = string.match(summary, '^(%-?%d+) %-?%d+ (%d+) ()')
  if ARGV[2] ~= '' and ARGV[2] ~= '=' .. string.sub(summary, rest, rest + length - 1) then
    return false
  end
  return (not from_ms or tonumber(created) >= from_ms) and (not to_ms or tonumber(created) < to_ms)
end
local found = {}
for i = 1, #KEYS, 2 do
  local m = redis.call('HMGET', KEYS[i], 'n', 'p', 'u')
  if m[1] and matches(m[2] or '', m[3]) then
    found[#found + 1] = {m[1], redis.call('LLEN', KEYS[i + 1]), m[2], m[3]}
  else
    found[#found + 1] = false
  end
end
return found
