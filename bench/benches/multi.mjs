/** Server CPU per delivered event when each stream is on eight channels: events go to the shared channels in turn. */
import { chosen, wayOf } from '../harness/contestants.mjs'
import { inTurn } from '../harness/stats.mjs'
import { measureFanout } from './fanout.mjs'

const CONTESTANTS = {
  kit: { server: 'kit' },
  'kit, 8 channels': { server: 'kit', options: { shared: 8 } },
  'kit, 8 channels of which 1 is its own': { server: 'kit', options: { shared: 7, own: 1 } },
  'better-sse, 8 channels': { server: 'better-sse', options: { shared: 8 } },
}

export const multi = {
  title: (streams) => `${streams.toLocaleString('en')} streams on 8 channels, one event of 250 bytes a tick`,
  defaults: { streams: 1000, runs: 5 },
  columns: [{ key: 'cpu', title: 'CPU per delivered event, µs', digits: 2, ratio: true }],
  goals: [{ of: 'kit, 8 channels', to: 'kit', figure: 'cpu', atMost: 1.3 }],
  run: ({ streams, runs, only }) =>
    inTurn(chosen(Object.keys(CONTESTANTS), only), runs, (name) => {
      const { server, options } = CONTESTANTS[name]
      return measureFanout(wayOf(server), streams, { perTick: 1, ticks: 100 }, options)
    }),
}
