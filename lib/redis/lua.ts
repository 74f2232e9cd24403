/** Lua that several parts of the kit put at the beginning of their scripts. */

/**
 * `whole(text)`: the number that the text is, if Lua and JavaScript represent it exactly (`MAX_OFFSET`); otherwise nil.
 */
export const WHOLE = `
local function whole(text)
  if text and #text <= 15 and string.match(text, '^%d+$') then return tonumber(text) end
end
`
