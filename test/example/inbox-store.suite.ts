import { expect } from 'chai'
import { seed } from '../../example/server/seed.js'
import {
  type Appended,
  type InboxStore,
  KEPT_MESSAGES,
  LIST_LIMIT,
  type Message,
  type NewConversation,
  PAGE_LIMIT,
} from '../../example/server/store/inbox-store.js'

export interface InboxStoreHarness {
  readonly store: InboxStore
  /** The store of another process on the same data, or the same object if there is only one process. */
  readonly other: InboxStore
  stop(): Promise<void>
}

const NOON = Date.parse('2026-03-01T12:00:00.000Z')

function conversation(id: string, over: Partial<NewConversation> = {}): NewConversation {
  return { id, tenant: 'acme', provider: 'whatsapp', accountId: '1', contactId: '2', contact: 'Kerry', ...over }
}

function message(id: string, over: Partial<Message> = {}): Message {
  const at = new Date(NOON).toISOString()
  return { id, conversation_id: 'c', direction: 'in', text: `text of ${id}`, from: '2', at, ...over }
}

/** The guarantees of every inbox store. */
export function inboxStoreSuite(start: () => Promise<InboxStoreHarness>): void {
  let harness: InboxStoreHarness
  let store: InboxStore
  let other: InboxStore

  beforeEach(async () => {
    harness = await start()
    store = harness.store
    other = harness.other
  })

  afterEach(() => harness.stop())

  it('separates tenants with any characters in their names', async () => {
    await store.upsertConversation(conversation('y', { tenant: 'acme}:conversation:x' }))
    await store.upsertConversation(conversation('c', { tenant: '}' }))
    expect(await store.getConversation('acme', 'x}:conversation:y')).to.equal(undefined)
    expect(await store.getConversation('acme}:conversation:x', 'y')).to.include({ id: 'y' })
    expect(await store.getConversation('}', 'c')).to.include({ id: 'c', tenant: '}' })
  })

  async function append(given: Message, to: InboxStore = store): Promise<Appended> {
    const appended = await to.append('acme', given)
    if (appended === undefined) throw new Error('there is no such conversation')
    return appended
  }

  it('creates a conversation once, and keeps the name of the contact', async () => {
    const first = await store.upsertConversation(conversation('c', { contact: undefined }))
    expect(first).to.deep.equal({ ...conversation('c'), contact: '2', lastText: '', lastAt: '', unread: 0 })
    await append(message('m1'))
    expect((await other.upsertConversation(conversation('c', { contact: 'Kerry F.' }))).contact).to.equal('Kerry F.')
    const again = await store.upsertConversation(conversation('c', { contact: undefined }))
    expect(again).to.deep.include({ contact: 'Kerry F.', lastText: 'text of m1', unread: 1 })
    expect(await other.getConversation('acme', 'c')).to.deep.equal(again)
    expect(await other.listConversations('acme')).to.deep.equal([again])
  })

  it('adds a message once, and returns the stored one on a repeat', async () => {
    await store.upsertConversation(conversation('c'))
    const first = await append(message('m1'))
    expect(first).to.deep.include({ message: message('m1'), added: true })
    const repeat = await append(message('m1', { text: 'another text' }), other)
    expect(repeat).to.deep.equal({ ...first, added: false })
    expect(await store.listMessages('acme', 'c')).to.deep.equal([message('m1')])
  })

  it('adds a message once for concurrent callers, and counts it once', async () => {
    await store.upsertConversation(conversation('c'))
    const appended = await Promise.all(
      Array.from({ length: 40 }, (_, i) => append(message(`m${i % 4}`), i % 2 ? store : other)),
    )
    expect(appended.filter(({ added }) => added)).to.have.length(4)
    expect((await store.listMessages('acme', 'c')).map(({ id }) => id)).to.have.members(['m0', 'm1', 'm2', 'm3'])
    expect((await other.getConversation('acme', 'c'))?.unread).to.equal(4)
  })

  it('keeps messages in the order of their arrival, with any text', async () => {
    await store.upsertConversation(conversation('c'))
    const texts = ['ä\u0000ö', '👩‍👩‍👧', 'line\r\nline', '', '{"a":1}', '0', '-1']
    for (const [i, text] of texts.entries()) await append(message(`m${i}`, { text }))
    expect((await other.listMessages('acme', 'c')).map(({ text }) => text)).to.deep.equal(texts)
    expect((await other.getConversation('acme', 'c'))?.lastText).to.equal('-1')
  })

  it('counts messages of the contact as unread until they are answered or read', async () => {
    await store.upsertConversation(conversation('c'))
    await append(message('m1'))
    expect((await append(message('m2', { direction: 'out', from: 'dana' }))).conversation.unread).to.equal(0)
    await append(message('m3'))
    await append(message('m4'))
    await append(message('m2', { direction: 'out', from: 'dana' }))
    expect((await other.getConversation('acme', 'c'))?.unread).to.equal(2)
    expect(await other.markRead('acme', 'c')).to.equal(true)
    expect(await store.markRead('acme', 'c')).to.equal(false)
    expect(await store.markRead('acme', 'unknown')).to.equal(false)
    expect((await store.getConversation('acme', 'c'))?.unread).to.equal(0)
    expect(await store.getConversation('acme', 'unknown')).to.equal(undefined)
  })

  it('lists conversations by the time of their newest message, also if an older message arrives late', async () => {
    for (const id of ['a', 'b', 'c']) await store.upsertConversation(conversation(id))
    const at = (minute: number): string => new Date(NOON + minute * 60_000).toISOString()
    await append(message('m1', { conversation_id: 'b', at: at(1) }))
    await append(message('m2', { conversation_id: 'c', at: at(2) }))
    await append(message('m3', { conversation_id: 'a', at: at(3) }))
    await append(message('m4', { conversation_id: 'b', at: at(0), text: 'late' }))
    const list = await other.listConversations('acme')
    expect(list.map(({ id, lastText }) => [id, lastText])).to.deep.equal([
      ['a', 'text of m3'],
      ['c', 'text of m2'],
      ['b', 'text of m1'],
    ])
  })

  it('bounds the list, a page and the kept messages', async () => {
    for (let i = 0; i <= LIST_LIMIT; i++) await store.upsertConversation(conversation(`c${i}`))
    await store.upsertConversation(conversation('c'))
    expect(await store.listConversations('acme')).to.have.length(LIST_LIMIT)
    for (let i = 1; i <= KEPT_MESSAGES + 1; i++) await append(message(`m${i}`))
    const page = await other.listMessages('acme', 'c')
    expect(page).to.have.length(PAGE_LIMIT)
    expect(page.at(-1)?.id).to.equal(`m${KEPT_MESSAGES + 1}`)
    expect((await append(message('m2'))).added).to.equal(false)
    expect((await append(message('m1'))).added).to.equal(true)
  })

  it('separates tenants', async () => {
    await store.upsertConversation(conversation('c'))
    await append(message('m1'))
    expect(await store.getConversation('globex', 'c')).to.equal(undefined)
    expect(await store.listConversations('globex')).to.deep.equal([])
    expect(await store.listMessages('globex', 'c')).to.deep.equal([])
    expect(await store.append('globex', message('m2'))).to.equal(undefined)
    expect(await store.markRead('globex', 'c')).to.equal(false)
  })

  it('is seeded once, also by concurrent processes', async () => {
    const seedings = [store, other, store, other].map((each, i) => seed(each, 'acme', NOON + i))
    await Promise.all(seedings)
    const list = await store.listConversations('acme')
    expect(list.map(({ id, unread }) => [id, unread > 0])).to.deep.equal([
      ['demo-lena', true],
      ['demo-tomas', false],
      ['demo-priya', false],
    ])
    const threads = await Promise.all(list.map(({ id }) => store.listMessages('acme', id)))
    expect(threads.map((thread) => thread.map(({ id }) => id.split('-').at(-1)).join(''))).to.deep.equal([
      '123456',
      '12345',
      '123',
    ])
    await store.markRead('acme', 'demo-lena')
    await seed(other, 'acme', NOON + 60_000)
    expect((await store.getConversation('acme', 'demo-lena'))?.unread).to.equal(0)
  })

  it('answers a ping', () => store.ping())
}
