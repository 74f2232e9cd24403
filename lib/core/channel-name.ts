import { SseError } from './errors.js'
import { MAX_CHANNELS } from './position.js'

/**
 * The characters of a channel name. The set is narrow on purpose: no glob characters, which a pattern subscription
 * would expand; no braces, because only the kit decides which Redis keys share a hash slot; no control characters or
 * spaces.
 */
const CHANNEL = /^[A-Za-z0-9_.:@/%=~!+,;$&'()-]{1,200}$/

/** @throws SseError `ERR_SSE_CHANNEL_INVALID` */
export function assertChannel(name: unknown): asserts name is string {
  if (typeof name === 'string' && CHANNEL.test(name)) return
  throw new SseError(
    'ERR_SSE_CHANNEL_INVALID',
    "A channel name must have 1 to 200 characters of A-Z a-z 0-9 _ . : @ / % = ~ ! + , ; $ & ' ( ) -, " +
      `got ${JSON.stringify(name)?.slice(0, 80)}. Build the name with channel(…parts), which escapes other characters.`,
  )
}

/**
 * One name or several, sorted and without duplicates. The cursor of a stream lists its channels in this order.
 * @throws SseError `ERR_SSE_CHANNEL_INVALID`
 */
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
  throw new SseError('ERR_SSE_CHANNEL_INVALID', `A stream must have 1 to ${MAX_CHANNELS} channels, got ${names.length}`)
}

/**
 * Builds a channel name from parts: `channel('messages', tenant, id)`. The parts are joined with `:`. Characters that
 * are not allowed, and `:` itself, are escaped, so different parts never produce the same name.
 * @throws SseError `ERR_SSE_CHANNEL_INVALID` for an empty part or a name of more than 200 characters
 */
export function channel(...parts: readonly string[]): string {
  const name = parts.map(escapePart).join(':')
  assertChannel(name)
  return name
}

function escapePart(part: string): string {
  if (typeof part !== 'string' || part === '' || !part.isWellFormed()) {
    throw new SseError('ERR_SSE_CHANNEL_INVALID', 'Each part of a channel name must be a non-empty, well-formed string')
  }
  return encodeURIComponent(part).replaceAll('*', '%2A')
}
