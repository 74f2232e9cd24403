/** The data of the dashboard bench, in memory: tenants with conversations, and the messages that come in. */

export const CONVERSATIONS = 50
const THREAD = 30
/** Shares no divisor with `CONVERSATIONS`: each has its turn, in an order that looks random and is always the same. */
const STEP = 21

export const TENANTS = { acme: 'Acme Outdoor', globex: 'Globex Studio' }

export const ACCOUNTS = [
  { provider: 'whatsapp', id: '106540352242922', name: 'Support', phone: '+49 30 901820', verified: true },
  { provider: 'messenger', id: '1906385232743451', name: 'Shop', page: 'https://example.com/shop', verified: true },
  { provider: 'instagram', id: '17841405822304914', name: '@shop', followers: 18_204, verified: false },
]

export const FEATURES = { replies: true, readReceipts: true, templates: true, assignments: false, exports: false }

const TEXTS = [
  'Hi! Do you ship the Ridge 45 backpack to Ireland, and how long would that take?',
  'Thank you, that was quick.',
  'The zip on my rain jacket came apart on day two of the Camino. I still have the receipt, what should I do?',
  'Yes, the blue one please.',
  'Good morning! Is the Lumen headlamp back in stock? The 400, if there is a choice.',
]

export function profileOf(user) {
  return { user, name: user, role: 'agent', email: `${user}@example.com`, avatar: `/avatars/${user}.png` }
}

export function conversationId(index) {
  const slug = ['wa', 'ms', 'ig'][index % ACCOUNTS.length]
  return `${slug}-${ACCOUNTS[index % ACCOUNTS.length].id}-49151${String(index).padStart(8, '0')}`
}

/** A message's id ends with its number in the conversation, so the latest one shows a client which are missing. */
export function numberOf(messageId) {
  return Number(messageId.slice(messageId.lastIndexOf('.') + 1))
}

/** Each tenant has the same conversations, with a thread each. */
export function openInbox() {
  const tenants = new Map(Object.keys(TENANTS).map((tenant) => [tenant, new Map()]))
  for (const threads of tenants.values()) {
    for (let index = 0; index < CONVERSATIONS; index++) {
      const id = conversationId(index)
      const { provider, id: accountId } = ACCOUNTS[index % ACCOUNTS.length]
      const contact = `Contact ${index}`
      const conversation = { id, provider, accountId, contact, lastText: '', lastAt: '', unread: 0, lastMessageId: '' }
      threads.set(id, { conversation, messages: [] })
      for (let number = 1; number <= THREAD; number++) append(threads.get(id), number)
    }
  }
  return {
    has: (tenant, id) => tenants.get(tenant).has(id),
    /** The newest first. */
    conversations: (tenant) =>
      [...tenants.get(tenant).values()]
        .map(({ conversation }) => conversation)
        .sort((a, b) => (a.lastAt < b.lastAt ? 1 : -1)),
    messages: (tenant, id) => tenants.get(tenant).get(id)?.messages ?? [],
    /** @param turn counts up */
    receive(tenant, turn) {
      const thread = tenants.get(tenant).get(conversationId((turn * STEP) % CONVERSATIONS))
      return append(thread, numberOf(thread.conversation.lastMessageId) + 1)
    },
  }
}

function append({ conversation, messages }, number) {
  const { id, contact } = conversation
  const at = new Date().toISOString()
  const text = TEXTS[number % TEXTS.length]
  const message = { id: `${id}.${number}`, conversation_id: id, direction: 'in', text, from: contact, at }
  messages.push(message)
  if (messages.length > THREAD) messages.shift()
  Object.assign(conversation, {
    lastText: text,
    lastAt: at,
    unread: conversation.unread + 1,
    lastMessageId: message.id,
  })
  return { message, conversation }
}
