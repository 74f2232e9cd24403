import { expect } from 'chai'
import { Redis } from 'ioredis'
import { type RedisWithScripts, withScripts } from '../../lib/broker/redis/scripts.js'
import { RedisServer } from '../helpers/redis-server.js'

/** Rules that take a permission away. */
const RULES = ['-hset', '-pexpire', '-xadd', 'resetchannels', '-xdel', '-xsetid', '-del', '-set']
const PAIRS = RULES.flatMap((one, i) => RULES.slice(i).map((other) => [one, other]))

describe('the second attempt of a publication whose first attempt Redis refused', () => {
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

  for (const key of ['', 'with a key']) {
    it(`has success only if the log has the event once, whatever was refused${key && `, ${key}`}`, async () => {
      for (const [i, rules] of PAIRS.entries()) {
        const log = `{${key}${i}}`
        const keys = [`${log}:m`, `${log}:s`, `${log}:a`, `${log}:i`] as const
        const open = ['epoch', '', 0, 60_000]
        const publish = (number: number, payload: string) =>
          client
            .ssePublish(
              ...keys,
              ...open,
              log,
              number,
              60_000,
              100,
              60_000,
              key && number === 2 ? 1000 : 0,
              1,
              payload,
              '',
              0,
            )
            .then(([epoch, offset, , , refusal]) => (refusal === undefined ? `${epoch}-${offset}` : 'unknown'))
            .catch(() => 'refused')
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
