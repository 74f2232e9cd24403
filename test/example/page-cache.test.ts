import { type QueryClient, QueryObserver } from '@tanstack/react-query'
import { expect } from 'chai'
import type { Api } from '../../example/web/src/api.js'
import {
  conversationsQuery,
  dashboardQuery,
  reload,
  threadQuery,
  updateConversations,
  updateThread,
} from '../../example/web/src/inbox-cache.js'
import { createQueryClient } from '../../example/web/src/query-client.js'
import type { ThreadAction } from '../../example/web/src/thread-state.js'
import type { ConversationSummary, Dashboard, Listing, Message } from '../../example/web/src/types.js'

const AT = '2026-03-01T12:00:00.000Z'

function message(id: string): Message {
  return { id, conversation_id: 'c', direction: 'in', text: id, from: 'kerry', at: AT }
}

function summary(id: string, unread: number): ConversationSummary {
  return { id, provider: 'whatsapp', accountId: '1', contact: id, lastText: '', lastAt: AT, unread }
}

const arrived = (id: string): ThreadAction => ({ type: 'arrived', message: message(id), own: false })
const listing = <Item>(...items: Item[]): Listing<Item> => ({ items, cursor: 'c-1' })

/** Requests that are answered by the test. */
class Requests<Answer> {
  readonly #waiting: ((answer: Answer | Promise<never>) => void)[] = []
  sent = 0

  readonly send = (): Promise<Answer> => {
    this.sent++
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  async answer(answer: Answer | Promise<never>): Promise<void> {
    this.#waiting.shift()?.(answer)
    // The cache notifies its listeners asynchronously.
    await new Promise((resolve) => setTimeout(resolve))
  }
}

describe("the page's cache", () => {
  let client: QueryClient
  const stops: (() => void)[] = []

  beforeEach(() => {
    client = createQueryClient()
    client.mount()
  })
  afterEach(() => {
    for (const stop of stops.splice(0)) stop()
    client.unmount()
    client.clear()
  })

  function openThread(requests: Requests<Listing<Message>>, id = 'c') {
    const query = threadQuery({ messages: requests.send } as Partial<Api> as Api, id)
    const observer = new QueryObserver(client, client.defaultQueryOptions(query))
    const close = observer.subscribe(() => undefined)
    stops.push(close)
    const ids = (): readonly string[] | undefined => client.getQueryData(query.queryKey)?.messages.map(({ id }) => id)
    return { observer, close, ids }
  }

  it('keeps messages that arrive during the first load of a thread, once', async () => {
    const requests = new Requests<Listing<Message>>()
    const { ids } = openThread(requests)
    updateThread(client, 'c', arrived('b'))
    updateThread(client, 'c', arrived('c'))
    await requests.answer(listing(message('a'), message('b')))
    expect(ids()).to.deep.equal(['a', 'b', 'c'])
  })

  it('keeps events that arrive during a reload, also during two concurrent ones', async () => {
    const requests = new Requests<Listing<Message>>()
    const { ids } = openThread(requests)
    await requests.answer(listing(message('lost'), message('a')))
    void reload(client)
    updateThread(client, 'c', arrived('b'))
    void reload(client)
    updateThread(client, 'c', arrived('c'))
    expect(requests.sent).to.equal(3)
    // The first reload was cancelled.
    await requests.answer(listing(message('a')))
    await requests.answer(listing(message('a'), message('b')))
    expect(ids()).to.deep.equal(['a', 'b', 'c'])
  })

  it('is updated by events without another request, in view or not', async () => {
    const requests = new Requests<Listing<Message>>()
    const { close } = openThread(requests)
    await requests.answer(listing(message('a')))
    close()
    updateThread(client, 'c', arrived('b'))
    const again = openThread(requests)
    expect(again.ids()).to.deep.equal(['a', 'b'])
    expect(requests.sent).to.equal(1)
  })

  it('keeps messages that arrive after a thread was closed during its load', async () => {
    const requests = new Requests<Listing<Message>>()
    const { close } = openThread(requests)
    close()
    updateThread(client, 'c', arrived('b'))
    await requests.answer(listing(message('a')))
    const again = openThread(requests)
    expect(again.ids()).to.deep.equal(['a', 'b'])
    expect(requests.sent).to.equal(1)
  })

  it('reloads a thread that was not in view during a loss of events, independent of later events', async () => {
    const requests = new Requests<Listing<Message>>()
    const { close } = openThread(requests)
    await requests.answer(listing(message('a')))
    close()
    await reload(client)
    expect(requests.sent).to.equal(1)
    updateThread(client, 'c', arrived('c'))
    const again = openThread(requests)
    expect(requests.sent).to.equal(2)
    await requests.answer(listing(message('a'), message('missed'), message('c')))
    expect(again.ids()).to.deep.equal(['a', 'missed', 'c'])
  })

  it('does not load threads that were never opened', () => {
    updateThread(client, 'c', arrived('a'))
    expect(client.getQueryCache().getAll()).to.deep.equal([])
  })

  it('has the cursor of the latest list, and the changes that arrived during its load', async () => {
    const requests = new Requests<Listing<ConversationSummary>>()
    const query = conversationsQuery({ conversations: requests.send } as Partial<Api> as Api)
    const loading = client.fetchQuery(query)
    updateConversations(client, { type: 'changed', conversation: summary('new', 1) })
    updateConversations(client, { type: 'read', id: 'a' })
    await requests.answer(listing(summary('a', 2)))
    const { cursor, byId } = await loading
    expect(cursor).to.equal('c-1')
    expect([...byId.values()].map(({ id, unread }) => [id, unread])).to.deep.equal([
      ['a', 0],
      ['new', 1],
    ])
  })

  it('is seeded with the parts of the dashboard by one request', async () => {
    const dashboard: Dashboard = {
      profile: { user: 'dana', name: 'Dana', role: 'agent' },
      tenant: { id: 'acme', name: 'Acme Outdoor' },
      features: { replies: true },
      channels: [],
    }
    await client.fetchQuery(dashboardQuery({ dashboard: async () => dashboard } as Partial<Api> as Api))
    expect(client.getQueryData(['tenant'])).to.deep.equal(dashboard.tenant)
    expect(client.getQueryData(['features'])).to.deep.equal(dashboard.features)
  })
})
