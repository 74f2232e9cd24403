/** Characters that stand for themselves; most ids have no others. */
const PLAIN = /^[\w.!~*'()-]*$/
/** What UTF-16 text may hold that has no encoding of its own in UTF-8. */
const LONE_SURROGATE = /([\ud800-\udfff])/u

/**
 * The one way to join several parts to a key, in memory and in stores: different parts, or another number of them, never give
 * the same key, whatever characters they have. Parts are escaped as in URLs and joined with `:`, so keys stay readable:
 * `compositeKey('user', 'acme', 'ada')` is `user:acme:ada`.
 */
export function compositeKey(first: string, ...others: readonly string[]): string {
  let key = escapePart(first)
  for (const part of others) key += `:${escapePart(part)}`
  return key
}

function escapePart(part: string): string {
  if (PLAIN.test(part)) return part
  if (part.isWellFormed()) return encodeURIComponent(part)
  // Stores encode text as UTF-8, in which all of them would become the same replacement character. `%u` is no other escape.
  return part
    .split(LONE_SURROGATE)
    .map((piece, i) => (i % 2 === 1 ? `%u${piece.charCodeAt(0).toString(16)}` : encodeURIComponent(piece)))
    .join('')
}
