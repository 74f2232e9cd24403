/**
 * payload ─► **message** ─► onMessage: what the three providers' messages have in common, and how their payloads are
 * read without trust in their form. Pure; knows neither HTTP nor stores.
 */

export const PROVIDERS = ['whatsapp', 'messenger', 'instagram'] as const
export type Provider = (typeof PROVIDERS)[number]

/** A message that a customer sent, whatever the provider. */
export interface InboundMessage {
  readonly provider: Provider
  /** Which of your accounts it was sent to: WhatsApp's phone number id, the Page's id, the Instagram account's id. */
  readonly accountId: string
  /** The provider's id, unique within the provider. */
  readonly messageId: string
  /** The sender: a WhatsApp number (`wa_id`), or an id that is valid for your account alone. */
  readonly from: string
  /** The name the sender goes by, where the provider tells. */
  readonly fromName?: string
  /** What was written; for other kinds the caption or a placeholder such as `[image]`. Well-formed, never empty. */
  readonly text: string
  /** The provider's word for what it is: `text`, `image`, `interactive` … */
  readonly kind: string
  /** When it was sent, in ms since 1970; when it came in, where the provider does not tell. */
  readonly at: number
  /** The provider's message object, as it came. */
  readonly raw: unknown
}

/** `undefined`: not the documented form. An empty list: nothing in it is a message. */
export type PayloadParser = (payload: unknown, receivedAt: number) => readonly InboundMessage[] | undefined

const MAX_ID_LENGTH = 512
/** The furthest time a Date can hold. */
const MAX_TIME = 8.64e15

/** The value's fields; none if it is no object. */
export function fields(value: unknown): Readonly<Record<string, unknown>> {
  return value !== null && typeof value === 'object' && !Array.isArray(value) ? (value as Record<string, unknown>) : {}
}

export function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

/** Text that can be stored and sent on: JSON may hold half a surrogate pair. */
export function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value.toWellFormed() : undefined
}

/** An id, which must be exact: one that would have to be mended is none. */
export function id(value: unknown): string | undefined {
  if (typeof value === 'number' && Number.isSafeInteger(value)) return String(value)
  const valid = typeof value === 'string' && value !== '' && value.length <= MAX_ID_LENGTH && value.isWellFormed()
  return valid ? value : undefined
}

/** The provider's word for a kind of message, if it looks like one. */
export function kindOf(value: unknown): string {
  return typeof value === 'string' && /^[a-z_]{1,32}$/.test(value) ? value : 'unknown'
}

/** Ms since 1970 from a number or its digits, in units of `unitMs`. */
export function time(value: unknown, unitMs: number, fallback: number): number {
  const number = typeof value === 'string' && /^\d{1,16}$/.test(value) ? Number(value) : value
  if (typeof number !== 'number') return fallback
  const ms = number * unitMs
  return ms > 0 && ms <= MAX_TIME ? Math.round(ms) : fallback
}

/** The entries of a payload about `object`; `undefined` if it is another or no payload. */
export function entriesOf(payload: unknown, object: string): readonly unknown[] | undefined {
  const { object: actual, entry } = fields(payload)
  return actual === object && Array.isArray(entry) ? entry : undefined
}
