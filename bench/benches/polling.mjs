/** The cost of a dashboard for its server, and the delay of a message for its users: polling on timers, and streams. */
import { randomBytes } from 'node:crypto'
import { chosen } from '../harness/contestants.mjs'
import { ask, cpuMicros, LOAD_CORE, message, SERVER_CORE, start, stop } from '../harness/processes.mjs'
import { inTurn } from '../harness/stats.mjs'

const CONTESTANTS = ['kit', 'polling']
const MEGABYTE = 1e6

export const polling = {
  title: (users) => `${users} dashboards of 2 tenants, a message every 2 s in each tenant`,
  defaults: { streams: 100, seconds: 60, runs: 3 },
  columns: [
    { key: 'opening', title: 'requests to open them all', digits: 0 },
    { key: 'requests', title: 'requests a minute, once open', digits: 0 },
    { key: 'megabytes', title: 'MB a minute, once open', digits: 2 },
    { key: 'cpu', title: 'server CPU, % of a core', digits: 2 },
    { key: 'listMedian', title: 'delay in the list, median, ms', digits: 1 },
    { key: 'listP95', title: 'delay in the list, p95, ms', digits: 1 },
    { key: 'threadMedian', title: 'delay in the open thread, median, ms', digits: 1 },
    { key: 'threadP95', title: 'delay in the open thread, p95, ms', digits: 1 },
  ],
  goals: [{ of: 'kit', to: 'polling', figure: 'requests', atMost: 0.05 }],
  run: ({ streams: users, seconds, runs, only }) =>
    inTurn(chosen(CONTESTANTS, only), runs, (name) => measure(name === 'kit', users, seconds)),
}

async function measure(streaming, users, seconds) {
  const secret = randomBytes(32).toString('hex')
  const server = start('servers/dashboard.mjs', SERVER_CORE, { streaming, secret })
  const { port, pids } = await message(server, 'listening')
  const load = start('load/dashboards.mjs', LOAD_CORE, { port, users, streaming, secret })
  await message(load, 'ready')

  const opened = await ask(server, { type: 'count' }, 'counted')
  const cpuBefore = cpuMicros(pids)
  const begin = performance.now()
  const { messages } = await ask(server, { type: 'go', seconds }, 'sent')
  const cpu = cpuMicros(pids) - cpuBefore
  const took = (performance.now() - begin) / 1000
  const after = await ask(server, { type: 'count' }, 'counted')
  // Polling clients continue until they have seen the last message.
  const { missing, doubled, list, thread } = await ask(load, { messages }, 'shown')
  await stop(load)
  await stop(server)
  if (missing + doubled > 0) throw new Error(`${missing} messages were never shown, ${doubled} twice`)

  return {
    opening: opened.requests,
    requests: ((after.requests - opened.requests) * 60) / took,
    megabytes: ((after.bytes - opened.bytes) * 60) / took / MEGABYTE,
    cpu: cpu / (took * 1e4),
    listMedian: list.median,
    listP95: list.p95,
    threadMedian: thread.median,
    threadP95: thread.p95,
  }
}
