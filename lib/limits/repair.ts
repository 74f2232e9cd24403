/**
 * Lua for the scripts of the limits. Their keys hold only counts, and every process reports its own counts again, so a
 * key that another program has overwritten is replaced. Without that one damaged key would make the command fail that
 * it shares with others, and the limits of everybody would count as unavailable.
 */

/** `call(command, key, …)`: as `redis.call`, after a key of another type was deleted. */
export const REPAIRING_CALL = `
local function call(command, key, ...)
  local reply = redis.pcall(command, key, ...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  if string.find(reply.err, 'WRONGTYPE', 1, true) then redis.call('DEL', key) end
  return redis.call(command, key, ...)
end
`
