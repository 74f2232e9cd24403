/**
 * Replaces parts of a configuration file. Each part must be there: otherwise the test would run another configuration
 * than it claims to.
 */
export function substitute(text: string, parts: Readonly<Record<string, string>>): string {
  return Object.entries(parts).reduce((all, [part, replacement]) => {
    if (!all.includes(part)) throw new Error(`The file has no ${JSON.stringify(part)}:\n${text}`)
    return all.replaceAll(part, replacement)
  }, text)
}
