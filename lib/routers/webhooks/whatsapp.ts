import { entriesOf, fields, type InboundMessage, id, kindOf, list, text, time } from './message.js'

type Fields = Readonly<Record<string, unknown>>

/**
 * WhatsApp Cloud API, webhook field `messages`: `entry[].changes[].value.messages[]`. Everything else in a payload, such
 * as `statuses` or other fields, is none of our messages and left out.
 * https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/payload-examples
 */
export function parseWhatsApp(payload: unknown, receivedAt: number): readonly InboundMessage[] | undefined {
  return entriesOf(payload, 'whatsapp_business_account')?.flatMap((entry) =>
    list(fields(entry).changes).flatMap((change) => {
      const { field, value } = fields(change)
      return field === 'messages' ? changeMessages(fields(value), receivedAt) : []
    }),
  )
}

function changeMessages(value: Fields, receivedAt: number): readonly InboundMessage[] {
  const accountId = id(fields(value.metadata).phone_number_id)
  if (accountId === undefined) return []
  const names = contactNames(value.contacts)
  const messages: InboundMessage[] = []
  for (const raw of list(value.messages)) {
    const message = fields(raw)
    const messageId = id(message.id)
    const from = id(message.from)
    if (messageId === undefined || from === undefined) continue
    const kind = kindOf(message.type)
    const fromName = names.get(from)
    messages.push({
      provider: 'whatsapp',
      accountId,
      messageId,
      from,
      ...(fromName === undefined ? {} : { fromName }),
      text: wordsOf(message, kind) ?? `[${kind}]`,
      kind,
      at: time(message.timestamp, 1000, receivedAt),
      raw,
    })
  }
  return messages
}

function contactNames(contacts: unknown): ReadonlyMap<string, string> {
  const names = new Map<string, string>()
  for (const contact of list(contacts)) {
    const { wa_id, profile } = fields(contact)
    const waId = id(wa_id)
    const name = text(fields(profile).name)
    if (waId !== undefined && name !== undefined) names.set(waId, name)
  }
  return names
}

/** What the customer wrote, tapped or chose; the content is under the key that is the message's type. */
function wordsOf(message: Fields, kind: string): string | undefined {
  const content = fields(message[kind])
  switch (kind) {
    case 'text':
    case 'system':
      return text(content.body)
    case 'button':
      return text(content.text)
    case 'interactive':
      return text(fields(content.button_reply).title) ?? text(fields(content.list_reply).title)
    case 'reaction':
      return text(content.emoji)
    case 'location':
      return text(content.name) ?? text(content.address)
    case 'order':
      return text(content.text)
    default:
      return text(content.caption)
  }
}
