import { expect } from 'chai'
import { Redis } from 'ioredis'
import { type RedisWithScripts, withScripts } from '../../../lib/broker/redis/scripts.js'
import { RedisServer } from '../../helpers/redis-server.js'
import { Random } from '../random.js'
import { RedisData } from './redis-data.js'

const META = 'sse:{a}:m'
const STREAM = 'sse:{a}:s'
const EPOCHS = ['aaaaaa', 'aaaaab', 'aaaaac', '999999']
/** In ms: nothing expires while the test runs. */
const TTL = 600_000

/** The same commands on a real Redis that runs the scripts, and on the simulated data. */
class Both {
  readonly #redis: RedisWithScripts
  readonly #admin: Redis
  readonly #random: Random
  readonly #data: RedisData
  readonly #refused = new Set<string>()
  #published: string[] = []

  constructor(redis: RedisWithScripts, admin: Redis, random: Random) {
    this.#redis = redis
    this.#admin = admin
    this.#random = random
    this.#data = new RedisData({
      now: () => Date.now(),
      publish: (channel, message) => this.#published.push(`${channel} ${message.toString('latin1')}`),
      refusal: (command) => (this.#refused.has(command) ? 'NOPERM' : undefined),
      trims: () => false,
    })
  }

  readonly operations: Readonly<Record<string, () => Promise<void>>> = {
    open: async () => {
      const args = [...this.#openArgs()]
      await this.#compare(
        () => this.#redis.sseOpen(META, STREAM, ...args),
        () => this.#data.open([META, STREAM], args.map(String)),
      )
    },
    publish: async () => {
      const random = this.#random
      // Of the same log, so that a call with several publications is tried too.
      const publications = Array.from({ length: 1 + random.below(3) }, () => this.#publication())
      const count = publications.length
      const keys = Array.from(publications, () => [META, STREAM]).flat()
      if (publications.some(({ key }) => key !== undefined) || random.chance(0.1)) {
        for (const { key } of publications) keys.push(key ?? META)
      }
      const deadline = random.pick([0, Date.now() + 60_000, Date.now() - 60_000])
      const size = random.pick([0, 5, 1000])
      // Negative: the publications of all processes are forgotten.
      const lastTtl = random.pick([TTL, TTL, TTL, -TTL])
      // Many, so that the fields of a meta hash are pruned.
      const field = `a:p${random.below(random.pick([2, 60]))}`
      const [fresh] = this.#openArgs()
      const suffix = random.pick(['', '@3'])
      const args: (string | number | Buffer)[] = [fresh, count, TTL, lastTtl, size, TTL, deadline, field]
      args.push(random.pick([0, TTL]), suffix, TTL, ...publications.flatMap((each) => each.args))
      if (random.chance(0.5)) args.push(...publications.map(({ kept }) => kept))
      await this.#compare(
        () => this.#redis.ssePublish(keys.length, ...keys, ...args),
        () => this.#data.publish(keys, args.map(toBuffer)),
      )
    },
    read: async () => {
      const random = this.#random
      const args = [random.below(30), 1 + random.below(40), 1 + random.below(200)]
      await this.#compare(
        () => this.#redis.sseReadBuffer(META, STREAM, ...args),
        () => this.#data.read([META, STREAM], args.map(String)),
      )
    },
    trim: async () => {
      const count = this.#random.below(10)
      await this.#admin.xtrim(STREAM, 'MAXLEN', count)
      this.#data.trim(STREAM, count)
    },
    removeEntry: async () => {
      const entries = this.#data.entries(STREAM)
      if (entries.length === 0) return
      const { id } = this.#random.pick(entries)
      await this.#admin.xdel(STREAM, `${id}-0`)
      this.#data.removeEntry(STREAM, id)
    },
    deleteKey: async () => {
      const key = this.#random.pick([META, STREAM])
      await this.#admin.del(key)
      this.#data.delete(key)
    },
    endByAnother: async () => {
      const at = this.#random.pick(['', 'foreign', String(this.#random.below(30))])
      if (this.#data.hash(META).size === 0) return
      await this.#admin.hset(META, 'x', at)
      this.#data.setField(META, 'x', at)
    },
    changeReplicationId: async () => {
      await this.#admin.call('DEBUG', 'CHANGE-REPL-ID')
      await this.readReplicationId()
    },
    refuse: async () => {
      const command = this.#random.pick([
        'publish',
        'xadd',
        'hset',
        'hdel',
        'hlen',
        'set',
        'info',
        'xrange',
        'xlen',
        'xdel',
        'pexpire',
        'hmget',
        'xsetid',
      ])
      this.#refused.add(command)
      await this.#admin.call('ACL', 'SETUSER', 'kit', `-${command}`)
    },
    allow: async () => {
      this.#refused.clear()
      await this.#admin.call('ACL', 'SETUSER', 'kit', '+@all')
    },
  }

  async readReplicationId(): Promise<void> {
    const info = await this.#admin.info('replication')
    this.#data.replid = /master_replid:(\w+)/.exec(info)?.[1] ?? ''
  }

  async compareState(): Promise<void> {
    for (const key of await this.#admin.keys('*')) {
      if (key !== META && key !== STREAM) {
        expect(lasting(this.#data.text(key)), key).to.equal(lasting(await this.#admin.get(key)))
      }
    }
    const hash = Object.fromEntries(this.#data.hash(META))
    expect(withoutTimes(hash)).to.deep.equal(withoutTimes(await this.#admin.hgetall(META)))
    const entries = await this.#admin.xrangeBuffer(STREAM, '-', '+')
    const expected = entries.map(([id, [, payload]]) => ({ id: Number.parseInt(String(id), 10), payload }))
    expect(this.#data.entries(STREAM)).to.deep.equal(expected)
  }

  #publication() {
    const random = this.#random
    return {
      key: random.chance(0.3) ? `sse:{a}:i:k${random.below(4)}` : undefined,
      args: [
        ...this.#openArgs().slice(1, 3),
        1 + random.below(30),
        // Rarely the end of the log, which refuses what follows.
        random.chance(0.03) ? -1 - random.below(3) : random.below(4),
        Buffer.from(`payload ${random.below(1000)}`),
      ],
      kept: random.chance(0.5) ? '' : Buffer.from(`kept ${random.below(1000)}`),
    }
  }

  #openArgs(): readonly [number, string, number, number] {
    const random = this.#random
    // Few, so that epochs meet again. The last one is followed by the first.
    const fresh = random.pick([0, 1, 2, 36 ** 6 - 1])
    return [fresh, random.pick([...EPOCHS, '']), random.below(30), TTL]
  }

  async #compare(real: () => Promise<unknown>, simulated: () => unknown): Promise<void> {
    this.#published = []
    const [realReply, simulatedReply] = [await outcomeOf(real), await outcomeOf(async () => simulated())]
    expect(simulatedReply).to.deep.equal(realReply)
  }
}

/** The two servers have different clocks. */
function withoutTimes(hash: Readonly<Record<string, string>>): object {
  return Object.fromEntries(Object.entries(hash).map(([name, value]) => [name, value.replace(/\b\d{13}$/, 'time')]))
}

function toBuffer(arg: string | number | Buffer): Buffer {
  return Buffer.isBuffer(arg) ? arg : Buffer.from(String(arg))
}

/** The reply as text; `refused` for any error or its reason. The time of Redis differs. */
/** An undone publication leaves values that expire after 1 ms. */
function lasting(value: string | null): string | null {
  return value === '-' ? null : value
}

async function outcomeOf(call: () => Promise<unknown>): Promise<unknown> {
  try {
    return JSON.parse(
      JSON.stringify(await call(), (_key, value: unknown) => {
        if (value instanceof Error) return 'refused'
        if (typeof value === 'number' && value > 1e12) return 'time'
        if (typeof value === 'object' && value !== null && 'data' in value)
          return Buffer.from(value.data as number[]).toString()
        const [epoch, offset, earlier, refusal] = Array.isArray(value) ? value : []
        return typeof refusal === 'string' ? [epoch, offset, earlier, 'refused'] : value
      }),
    )
  } catch {
    return 'refused'
  }
}

describe('the simulated Redis', () => {
  for (const seed of [1, 2, 3, 4, 5, 6]) {
    it(`replies to the kit's scripts like a real Redis, and has the same data (${seed})`, async () => {
      const server = await RedisServer.start([
        '--enable-debug-command',
        'yes',
        '--user',
        'kit',
        'on',
        'nopass',
        '~*',
        '&*',
        '+@all',
      ])
      const admin = new Redis(server.url)
      const redis = withScripts(new Redis(server.url, { username: 'kit', password: 'any' }))
      try {
        const random = new Random(seed)
        const both = new Both(redis, admin, random)
        await both.readReplicationId()
        const names = Object.keys(both.operations)
        const log: string[] = []
        for (let i = 0; i < 400; i++) {
          const name = random.pick([
            'open',
            'publish',
            'publish',
            'publish',
            'publish',
            'read',
            'read',
            'allow',
            ...names,
          ])
          log.push(name)
          await (both.operations[name] as () => Promise<void>)()
          await both.compareState()
        }
        expect(log).to.include.members(names)
      } finally {
        redis.disconnect()
        admin.disconnect()
        await server.stop()
      }
    })
  }
})
