// front answers GET / with one order, which it asks of the orders service.
// It knows nothing of tracing and forwards no header.
'use strict';

const http = require('node:http');

const ordersURL = process.env.ORDERS_URL || 'http://orders:8080';
const port = Number(process.env.PORT || 8080);

function getJSON(url) {
  return new Promise((resolve, reject) => {
    const request = http.get(url, { timeout: 5000 }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (piece) => { body += piece; });
      response.on('error', reject);
      response.on('end', () => {
        if (response.statusCode !== 200) {
          reject(new Error(`${url} answered ${response.statusCode}`));
          return;
        }
        try {
          resolve(JSON.parse(body));
        } catch (error) {
          reject(error);
        }
      });
    });
    request.on('timeout', () => request.destroy(new Error(`${url} did not answer within 5 s`)));
    request.on('error', reject);
  });
}

function answer(response, status, body) {
  const text = JSON.stringify(body) + '\n';
  response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) });
  response.end(text);
}

const server = http.createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, 'http://front');
  if (pathname !== '/') {
    answer(response, 404, { error: `no page ${pathname}: try /?order=42` });
    return;
  }
  const id = searchParams.get('order') || '42';
  try {
    const order = await getJSON(`${ordersURL}/orders/${encodeURIComponent(id)}`);
    answer(response, 200, { shop: 'Formicarium Shop', order });
  } catch (error) {
    answer(response, 502, { error: String(error.message) });
  }
});

server.listen(port, () => console.log(`front listens on ${port}`));
process.on('SIGTERM', () => server.close(() => process.exit(0)));
