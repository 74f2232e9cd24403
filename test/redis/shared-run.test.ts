import { channel as diagnosticsChannel } from 'node:diagnostics_channel'
import { expect } from 'chai'
import { systemClock } from '../../lib/core/system-clock.js'
import { RedisHandle } from '../../lib/redis/handle.js'
import { Command, type SendAll } from '../../lib/redis/run.js'
import { eventually } from '../helpers/eventually.js'
import { RedisServer } from '../helpers/redis-server.js'

/** An error reply of Redis. */
class ReplyError extends Error {
  override readonly name = 'ReplyError'
}

/** Writes down what happens to it. */
class Watched extends Command<string> {
  readonly name: string
  readonly deadline: number
  readonly timeoutMs: number
  readonly heard: string[]
  readonly #onReject: (error: Error) => void

  constructor(name: string, heard: string[], timeoutMs = 5000, onReject: (error: Error) => void = () => undefined) {
    super()
    this.name = name
    this.heard = heard
    this.timeoutMs = timeoutMs
    this.deadline = systemClock.now() + timeoutMs
    this.#onReject = onReject
  }

  resolve(reply: string): void {
    this.heard.push(`${this.name}: ${reply}`)
  }

  reject(error: Error & { code?: string }): void {
    this.heard.push(`${this.name}: ${error.code}`)
    this.#onReject(error)
  }

  onSettled(): void {
    this.heard.push(`${this.name} settled`)
  }
}

describe('commands that share a run', () => {
  let redis: RedisServer
  let handle: RedisHandle
  let heard: string[]

  before(async () => {
    redis = await RedisServer.start()
  })
  after(() => redis.stop())

  beforeEach(async () => {
    heard = []
    handle = new RedisHandle(redis.url, { connectionName: 'test', commandTimeoutMs: 5000, clock: systemClock })
    await handle.whenReady(5000)
  })
  afterEach(() => handle.close())

  /** Sends a PING, whose reply stands for those that `replies` returns. */
  function run(
    commands: readonly Watched[],
    replies: (sent: readonly Watched[], attempt: number) => readonly (string | Error)[] | Promise<never>,
  ): void {
    let attempt = 0
    const send: SendAll<string, Watched> = async (sent, client) => {
      await client.ping()
      return replies(sent, ++attempt)
    }
    handle.runAll(commands, send, { retries: true })
  }

  const names = (commands: readonly Watched[]): string => commands.map(({ name }) => name).join()

  it('have their own outcomes', async () => {
    run([new Watched('a', heard), new Watched('b', heard)], () => ['done', new ReplyError('WRONGTYPE')])
    await eventually(() => heard.length === 4)
    expect(heard).to.deep.equal(['a: done', 'a settled', 'b: ERR_SSE_BROKER_REFUSED', 'b settled'])
  })

  it('are sent again without those that have an outcome', async () => {
    const sent: string[] = []
    const commands = ['a', 'b', 'c'].map((name) => new Watched(name, heard))
    run(commands, (these, attempt) => {
      sent.push(names(these))
      return these.map(({ name }) => (name === 'b' && attempt < 3 ? new ReplyError('TRYAGAIN') : 'done'))
    })
    await eventually(() => heard.length === 6)
    expect(sent).to.deep.equal(['a,b,c', 'b', 'b'])
    expect(heard.slice(-2)).to.deep.equal(['b: done', 'b settled'])
  })

  it('have their own deadlines, and are settled when the reply arrives', async () => {
    let answer: (replies: readonly string[]) => void = () => undefined
    const send: SendAll<string, Watched> = async (_, client) => {
      await client.ping()
      return new Promise((resolve) => {
        answer = resolve
      })
    }
    const commands = [new Watched('late', heard, 900), new Watched('early', heard, 60), new Watched('kept', heard)]
    handle.runAll(commands, send, { retries: true })
    await eventually(() => heard.length === 2)
    expect(heard).to.deep.equal(['early: ERR_SSE_BROKER_TIMEOUT', 'late: ERR_SSE_BROKER_TIMEOUT'])
    answer(['x', 'y', 'z'])
    await eventually(() => heard.length === 6)
    expect(heard.slice(2)).to.deep.equal(['late settled', 'early settled', 'kept: z', 'kept settled'])
  })

  it('have an unknown outcome if the handle is closed while they are in flight', async () => {
    let sends = 0
    const send: SendAll<string, Watched> = async (_, client) => {
      sends++
      await client.ping()
      return new Promise(() => undefined)
    }
    handle.runAll([new Watched('a', heard), new Watched('b', heard)], send, { retries: true })
    await eventually(() => sends === 1)
    handle.close()
    expect(heard).to.deep.equal(['a: ERR_SSE_BROKER_TIMEOUT', 'b: ERR_SSE_BROKER_TIMEOUT'])
  })

  it('have one outcome each if the first rejection closes the handle', async () => {
    const commands = [new Watched('a', heard, 5000, () => handle.close()), new Watched('b', heard)]
    run(commands, (these) => these.map(() => new ReplyError('WRONGTYPE')))
    await eventually(() => heard.length >= 4)
    expect(heard).to.deep.equal(['a: ERR_SSE_BROKER_REFUSED', 'a settled', 'b: ERR_SSE_BROKER_REFUSED', 'b settled'])
  })

  it('fail once if the program cannot send them or read the reply, with the true outcome', async () => {
    const messages: string[] = []
    const note = (error: Error) => messages.push(error.message)
    const fault = new TypeError('value.length is not a function')
    const [unsent, unread] = ['unsent', 'unread'].map((name) => new Watched(name, heard, 5000, note)) as [
      Watched,
      Watched,
    ]
    let attempts = 0
    const cannotSend: SendAll<string, Watched> = () => {
      attempts++
      throw fault
    }
    const cannotRead: SendAll<string, Watched> = async (_, client) => {
      attempts++
      await client.ping()
      throw fault
    }
    handle.runAll([unsent], cannotSend, { retries: true })
    await eventually(() => heard.length === 2)
    handle.runAll([unread], cannotRead, { retries: true })
    await eventually(() => heard.length === 4)
    expect(heard).to.deep.equal([
      'unsent: ERR_SSE_BROKER_UNAVAILABLE',
      'unsent settled',
      'unread: ERR_SSE_BROKER_TIMEOUT',
      'unread settled',
    ])
    expect(messages).to.deep.equal([
      `An error in the program, the command was not sent: ${fault.message}`,
      `An error in the program (${fault.message}); the command may have run`,
    ])
    expect(attempts).to.equal(2)
  })

  it('are each reported, with their own error', async () => {
    const channel = diagnosticsChannel('shared-run')
    const reports: string[] = []
    const note = (message: unknown) => {
      const { command, ms, error } = message as { command: string; ms: number; error?: { code: string } }
      reports.push(`${command} ${ms >= 0} ${error?.code}`)
    }
    channel.subscribe(note)
    const replies: SendAll<string, Watched> = async (_, client) => [await client.ping(), new ReplyError('WRONGTYPE')]
    const commands = [new Watched('a', heard), new Watched('b', heard)]
    handle.runAll(commands, replies, { report: { to: channel, command: 'test' } })
    await eventually(() => heard.length === 4)
    handle.close()
    handle.runAll([new Watched('c', heard)], replies, { report: { to: channel, command: 'test' } })
    channel.unsubscribe(note)
    expect(reports).to.deep.equal([
      'test true undefined',
      'test true ERR_SSE_BROKER_REFUSED',
      'test true ERR_SSE_CLOSED',
    ])
  })

  it('are rejected and settled if the handle was closed before', () => {
    handle.close()
    run([new Watched('a', heard), new Watched('b', heard)], () => ['x', 'y'])
    expect(heard).to.deep.equal(['a: ERR_SSE_CLOSED', 'a settled', 'b: ERR_SSE_CLOSED', 'b settled'])
  })
})
