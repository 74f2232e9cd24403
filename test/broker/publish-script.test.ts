import { expect } from 'chai'
import { Redis } from 'ioredis'
import { type Publication, type PublicationReply, sendPublications } from '../../lib/broker/redis/publish-script.js'
import { type RedisWithScripts, withScripts } from '../../lib/broker/redis/scripts.js'
import { RedisServer } from '../helpers/redis-server.js'

/** Rules that take a permission away. */
const RULES = ['-hset', '-pexpire', '-xadd', 'resetchannels', '-xdel', '-xsetid', '-del', '-set']
const PAIRS = RULES.flatMap((one, i) => RULES.slice(i).map((other) => [one, other]))

const OPTIONS = {
  metaTtlMs: 60_000,
  lastPublicationTtlMs: 60_000,
  idempotencyTtlMs: 1000,
  publisherId: 'test',
  pubSubSuffix: '',
}

const RETENTION = { historySize: 100, historyTtlMs: 60_000 }

function publication(log: string, number: number, payload: string, withKey = false): Publication {
  const idempotency = withKey ? `${log}:i` : undefined
  return {
    keys: { meta: `${log}:m`, stream: `${log}:s`, idempotency },
    seen: ['', 0],
    number,
    logged: 1,
    payload,
    ends: false,
    kept: undefined,
  }
}

/** The first epoch of each log, by the name of its meta hash. */
const epochs = new Map<string, string>()

/** The position, `unknown`, or `refused`, of each publication of one call. */
async function outcomesOf(client: RedisWithScripts, publications: readonly Publication[]): Promise<readonly string[]> {
  const [, ...replies] = await sendPublications(client, publications, OPTIONS, RETENTION, 0)
  return replies.map((reply, i) => {
    if (reply instanceof Error) return 'refused'
    const [epoch, offset, , refusal] = reply
    if (refusal !== undefined) return 'unknown'
    const { meta } = (publications[i] as Publication).keys
    const first = epochs.get(meta) ?? epoch
    epochs.set(meta, first)
    return epoch === first ? `epoch-${offset}` : `another-${offset}`
  })
}

async function outcomeOf(client: RedisWithScripts, only: Publication): Promise<string | undefined> {
  const [outcome] = await outcomesOf(client, [only])
  return outcome
}

describe('the publish script', () => {
  let server: RedisServer
  let admin: Redis
  let client: RedisWithScripts

  before(async () => {
    server = await RedisServer.start(['--user', 'kit', 'on', '>kit', '~*', '&*', '+@all'])
    admin = new Redis(server.url)
    client = withScripts(new Redis({ port: server.port, username: 'kit', password: 'kit' }))
  })

  after(async () => {
    client.disconnect()
    admin.disconnect()
    await server.stop()
  })

  it('gives each publication of a call its own result', async () => {
    await outcomesOf(client, [publication('{a}', 1, 'a1'), publication('{b}', 1, 'b1')])
    const damaged = publication('{b}', 2, 'b2')
    await admin.set('{c}:m', 'not a hash')
    await admin.acl('SETUSER', 'kit', 'resetchannels', '&{a}', '&{c}', '&{d}')
    try {
      const outcomes = await outcomesOf(client, [
        publication('{a}', 2, 'a2'),
        damaged,
        publication('{c}', 1, 'c1'),
        publication('{d}', 1, 'd1', true),
        publication('{a}', 2, 'a2'),
      ])
      expect(outcomes).to.deep.equal(['epoch-2', 'refused', 'refused', 'epoch-1', 'epoch-2'])
    } finally {
      await admin.acl('SETUSER', 'kit', 'allchannels')
    }
    expect(await admin.xlen('{a}:s')).to.equal(2)
    expect(await admin.xlen('{b}:s')).to.equal(1)
    expect(await outcomesOf(client, [damaged, publication('{d}', 2, 'd2')])).to.deep.equal(['epoch-2', 'epoch-2'])
  })

  it('keeps the history if Redis refuses to deliver a publication of more events than the log holds', async () => {
    const retention = { ...RETENTION, historySize: 10 }
    const publish = async (number: number, logged: number) => {
      const publications = [{ ...publication('{h}', number, 'x'), logged }]
      const [, reply] = await sendPublications(client, publications, OPTIONS, retention, 0)
      return reply instanceof Error ? 'refused' : reply?.[1]
    }
    // One entry for each node of the stream, so that trimming removes as many as it may.
    await admin.config('SET', 'stream-node-max-entries', '1')
    for (let number = 1; number <= 40; number++) await publish(number, 1)
    const before = await admin.xlen('{h}:s')
    await admin.acl('SETUSER', 'kit', 'resetchannels')
    const outcome = await publish(41, 1000)
    await admin.acl('SETUSER', 'kit', 'allchannels')
    await admin.config('SET', 'stream-node-max-entries', '100')
    expect([outcome, before]).to.deep.equal(['refused', 11])
    expect(await admin.xlen('{h}:s')).to.be.at.least(10)
    expect(await publish(42, 1)).to.equal('41')
  })

  it('remembers the last publication of a process as long as that process needs, whichever process prunes', async () => {
    const of = (publisherId: string, ttlMs: number) => ({ ...OPTIONS, publisherId, lastPublicationTtlMs: ttlMs })
    const send = async (number: number, options: typeof OPTIONS) => {
      const [, reply] = await sendPublications(client, [publication('{p}', number, 'x')], options, RETENTION, 0)
      return (reply as PublicationReply)[1]
    }
    await send(1, of('lasting', 600_000))
    for (let i = 0; i < 40; i++) await send(1, of(`short${i}`, 1))
    await new Promise((resolve) => setTimeout(resolve, 20))
    const offset = await send(1, of('new', 1))
    expect(await admin.hlen('{p}:m')).to.be.below(40)
    expect([offset, await send(1, of('lasting', 600_000))]).to.deep.equal(['42', '1'])
  })

  it('remembers the last publication of a process also in a log that is kept for a shorter time', async () => {
    const retention = { ...RETENTION, historyTtlMs: 500 }
    await sendPublications(client, [publication('{t}', 1, 'x')], { ...OPTIONS, metaTtlMs: 500 }, retention, 0)
    expect(await admin.pttl('{t}:m')).to.be.above(OPTIONS.lastPublicationTtlMs - 5000)
  })

  for (const key of ['', 'with a key']) {
    it(`publishes once in the second attempt, whatever was refused in the first${key && `, ${key}`}`, async () => {
      for (const [i, rules] of PAIRS.entries()) {
        const log = `{${key}${i}}`
        const publish = (number: number, payload: string) =>
          outcomeOf(client, publication(log, number, payload, key !== '' && number === 2))
        expect(await publish(1, 'before')).to.equal('epoch-1')
        await admin.acl('SETUSER', 'kit', ...rules)
        const first = await publish(2, 'the event')
        await admin.acl('SETUSER', 'kit', 'allchannels', '+@all')
        const second = await publish(2, 'the event')
        const entries = (await admin.xrange(`${log}:s`, '-', '+')).filter(([, [, payload]]) => payload === 'the event')
        const positions = entries.map(([id]) => `epoch-${id.split('-')[0]}`)
        expect({ rules, positions }).to.deep.equal({ rules, positions: [second] })
        if (first !== 'unknown' && first !== 'refused') expect(first).to.equal(second)
        expect(await publish(3, 'after')).to.match(/^epoch-[34]$/)
      }
    })
  }
})
