import { SseError } from './errors.js'
import { MAX_CHANNELS } from './position.js'

/**
 * Channel names. The set is narrow on purpose: no glob characters (nothing a pattern subscription could widen), no
 * braces (the kit alone decides which Redis keys share a hash slot), no controls or spaces.
 */
const CHANNEL = /^[A-Za-z0-9_.:@/%=~!+,;$&'()-]{1,200}$/

/** @throws SseError `ERR_SSE_CHANNEL_INVALID` */
export function assertChannel(name: unknown): asserts name is string {
  if (typeof name === 'string' && CHANNEL.test(name)) return
  throw new SseError(
    'ERR_SSE_CHANNEL_INVALID',
    `A channel is 1 to 200 characters of A-Z a-z 0-9 _ . : @ / % = ~ ! + , ; $ & ' ( ) -, got ${JSON.stringify(name)?.slice(0, 80)}. Build it with channel(…parts), which escapes.`,
  )
}

/** One name or several, without repeats, sorted: the order in which a stream's cursor lists them. */
export function normalizeChannels(channels: string | readonly string[]): readonly string[] {
  if (typeof channels !== 'string' && !Array.isArray(channels)) {
    throw new SseError(
      'ERR_SSE_CHANNEL_INVALID',
      `Channels must be a string or an array of strings, got ${typeof channels}`,
    )
  }
  const names = typeof channels === 'string' ? [channels] : [...new Set<string>(channels)].sort()
  for (const name of names) assertChannel(name)
  if (names.length >= 1 && names.length <= MAX_CHANNELS) return names
  throw new SseError('ERR_SSE_CHANNEL_INVALID', `A stream has 1 to ${MAX_CHANNELS} channels, got ${names.length}`)
}

/**
 * Joins parts to a channel name with `:`, escaping what is not allowed and `:` itself, so that different parts never
 * give the same name: `channel('messages', tenant, id)`.
 * @throws SseError `ERR_SSE_CHANNEL_INVALID` for an empty part or a name over 200 characters
 */
export function channel(...parts: readonly string[]): string {
  const name = parts.map(escapePart).join(':')
  assertChannel(name)
  return name
}

function escapePart(part: string): string {
  if (typeof part !== 'string' || part === '' || !part.isWellFormed()) {
    throw new SseError('ERR_SSE_CHANNEL_INVALID', 'Each part of a channel name must be a well-formed, non-empty string')
  }
  return encodeURIComponent(part).replaceAll('*', '%2A')
}
