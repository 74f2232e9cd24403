import SseChannel from 'sse-channel'
import { HISTORY, log, serveReplay } from '../harness/replay.mjs'

const history = log.map(({ id, data }) => ({ id: Number(id), event: 'message', data }))
const channel = new SseChannel({ jsonEncode: true, historySize: HISTORY, history })
serveReplay((req, res) => channel.addClient(req, res))
