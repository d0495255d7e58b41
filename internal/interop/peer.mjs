// A member of a room for tests with several libraries:
//
//	node peer.mjs URL NAME EACH TOTAL
//
// It says "joined", publishes "NAME 0" to "NAME EACH-1" when it hears "go", and
// prints all it hears, a JSON string per line, until TOTAL came behind "go".
import WebSocket from 'ws'

const [url, name, each, total] = process.argv.slice(2)
const print = (line) => process.stdout.write(JSON.stringify(line) + '\n')

let left = Number(total) + 1
const ws = new WebSocket(url)
ws.on('open', () => print('joined'))
ws.on('message', (data, isBinary) => {
  const body = isBinary ? 'a binary message' : data.toString()
  print(body)
  if (body === 'go') {
    for (let i = 0; i < Number(each); i++) ws.send(`${name} ${i}`)
  }
  if (--left === 0) ws.close(1000)
})
ws.on('close', (code) => {
  if (left !== 0) {
    console.error(`closed ${code} with ${left} messages to come`)
    process.exitCode = 1
  }
})
