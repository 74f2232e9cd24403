/**
 * Demo conversations, so that the inbox is not empty before the first webhook. Their ids begin with `demo-`; ids from
 * webhooks never do. Every step is idempotent: processes that start together write each message once, and an
 * interrupted seed is completed later.
 */
import type { Direction, InboxStore, Provider } from './store/inbox-store.js'

interface DemoConversation {
  readonly id: string
  readonly provider: Provider
  readonly contact: string
  readonly unread?: boolean
  /** The age of the last message, in minutes. */
  readonly minutesAgo: number
  /** `>` marks a message of the contact, `<` an answer of the tenant. */
  readonly lines: readonly string[]
}

/** The oldest first. */
const DEMO: Readonly<Record<string, readonly DemoConversation[]>> = {
  acme: [
    {
      id: 'demo-priya',
      provider: 'messenger',
      contact: 'Priya Nair',
      minutesAgo: 26 * 60,
      lines: [
        '> Hi! Do you ship the Ridge 45 backpack to Ireland?',
        '< Hello Priya, yes we do: three to five working days, free over €80.',
        '> Perfect, ordering tonight!',
      ],
    },
    {
      id: 'demo-tomas',
      provider: 'whatsapp',
      contact: 'Tomás Oliveira',
      minutesAgo: 190,
      lines: [
        '> The zip on my rain jacket came apart on day two of the Camino…',
        '< Oh no! That is on us. Could you send the order number?',
        '> It is AO-20931',
        '< Thank you. A new one leaves the warehouse today, and you can keep the old one for parts.',
        '> Wow, that was quick. Obrigado!',
      ],
    },
    {
      id: 'demo-lena',
      provider: 'whatsapp',
      contact: 'Lena Fischer',
      unread: true,
      minutesAgo: 12,
      lines: [
        '> Good morning! Is the Lumen headlamp back in stock?',
        '> The 400, if there is a choice.',
        '< Morning Lena! Twenty arrived on Monday. Shall I put one aside?',
        '> Yes please, and one for my sister.',
        '< Two it is. They are under your name.',
        '> We start on Saturday, can I pick them up in the shop?',
      ],
    },
  ],
  globex: [
    {
      id: 'demo-yuki',
      provider: 'instagram',
      contact: 'yuki.draws',
      minutesAgo: 300,
      lines: ['> Love the new poster series! Is it a limited run?', '< Thank you! 200 prints each, all numbered.'],
    },
    {
      id: 'demo-omar',
      provider: 'instagram',
      contact: 'omar.h',
      unread: true,
      minutesAgo: 35,
      lines: ['> Could you frame No. 7 in oak before sending it?'],
    },
  ],
}

const BETWEEN_LINES_MS = 150_000

/** Writes the demo conversations of the tenant unless they exist. */
export async function seed(store: InboxStore, tenant: string, now: number = Date.now()): Promise<void> {
  const conversations = DEMO[tenant] ?? []
  const last = conversations.at(-1)
  // They are written in order: if the last one is complete, all are.
  if (last === undefined || (await store.listMessages(tenant, last.id)).length >= last.lines.length) return
  for (const conversation of conversations) await seedConversation(store, tenant, conversation, now)
}

async function seedConversation(
  store: InboxStore,
  tenant: string,
  { id, provider, contact, unread = false, minutesAgo, lines }: DemoConversation,
  now: number,
): Promise<void> {
  const begun = { id, tenant, provider, accountId: 'demo', contactId: id, contact }
  await store.upsertConversation(begun)
  for (const [index, line] of lines.entries()) {
    const direction: Direction = line.startsWith('>') ? 'in' : 'out'
    const ageMs = minutesAgo * 60_000 + (lines.length - 1 - index) * BETWEEN_LINES_MS
    const appended = await store.append(tenant, {
      id: `${id}-${index + 1}`,
      conversation_id: id,
      direction,
      text: line.slice(2),
      from: direction === 'in' ? id : 'sam',
      at: new Date(now - ageMs).toISOString(),
    })
    // Only the process that added the last message marks the conversation as read.
    if (appended?.added && index === lines.length - 1 && !unread) await store.markRead(tenant, id)
  }
}
