/** Characters that need no escape. Most ids have no others. */
const PLAIN = /^[\w.!~*'()-]*$/
/** A UTF-16 code unit that has no encoding in UTF-8. */
const LONE_SURROGATE = /([\ud800-\udfff])/u

/**
 * Builds every key that has several parts, in memory and in stores. Two different lists of parts never produce the same
 * key, whatever characters and however many parts they have. Parts are URL-escaped and joined with `:`, so keys stay
 * readable: `compositeKey('user', 'acme', 'ada')` is `user:acme:ada`.
 */
export function compositeKey(first: string, ...others: readonly string[]): string {
  let key = escapePart(first)
  for (const part of others) key += `:${escapePart(part)}`
  return key
}

function escapePart(part: string): string {
  if (PLAIN.test(part)) return part
  if (part.isWellFormed()) return encodeURIComponent(part)
  // Stores encode text as UTF-8, where every lone surrogate becomes the same replacement character. `%u` starts no
  // other escape.

  return part
    .split(LONE_SURROGATE)
    .map((piece, i) => (i % 2 === 1 ? `%u${piece.charCodeAt(0).toString(16)}` : encodeURIComponent(piece)))
    .join('')
}
