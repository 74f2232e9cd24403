import { entriesOf, fields, type InboundMessage, id, kindOf, list, type Provider, text, time } from './message.js'

/**
 * Messenger Platform, for Pages and for Instagram alike: `entry[].messaging[].message`. What is under `standby` is
 * another app's to answer; deliveries, reads, reactions and postbacks are no messages; echoes are our own.
 * https://developers.facebook.com/docs/messenger-platform/reference/webhook-events/messages
 */
export function parseMessenger(payload: unknown, receivedAt: number): readonly InboundMessage[] | undefined {
  return parse('messenger', entriesOf(payload, 'page'), receivedAt)
}

/** https://developers.facebook.com/docs/messenger-platform/instagram/features/webhook */
export function parseInstagram(payload: unknown, receivedAt: number): readonly InboundMessage[] | undefined {
  return parse('instagram', entriesOf(payload, 'instagram'), receivedAt)
}

function parse(
  provider: Provider,
  entries: readonly unknown[] | undefined,
  receivedAt: number,
): readonly InboundMessage[] | undefined {
  return entries?.flatMap((entry) => {
    const accountId = id(fields(entry).id)
    if (accountId === undefined) return []
    return list(fields(entry).messaging).flatMap((event) => toMessage(provider, accountId, event, receivedAt) ?? [])
  })
}

function toMessage(
  provider: Provider,
  accountId: string,
  event: unknown,
  receivedAt: number,
): InboundMessage | undefined {
  const { sender, timestamp, message: raw } = fields(event)
  const message = fields(raw)
  const messageId = id(message.mid)
  const from = id(fields(sender).id)
  if (messageId === undefined || from === undefined) return undefined
  // `is_deleted`: an Instagram message that was unsent again; it has nothing left to show.
  if (message.is_echo === true || message.is_deleted === true) return undefined
  const words = text(message.text)
  const kind = messageKind(message, words)
  return {
    provider,
    accountId,
    messageId,
    from,
    text: words ?? `[${kind}]`,
    kind,
    at: time(timestamp, 1, receivedAt),
    raw,
  }
}

function messageKind(message: Readonly<Record<string, unknown>>, words: string | undefined): string {
  if (message.is_unsupported === true) return 'unsupported'
  const [attachment] = list(message.attachments)
  const kind = kindOf(fields(attachment).type)
  // A `fallback` beside text is the preview of a link in it.
  if (words !== undefined && (attachment === undefined || kind === 'fallback')) return 'text'
  return kind
}
