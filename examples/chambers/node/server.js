// Answers GET / with a greeting.
'use strict';

const http = require('node:http');
const greeting = require('./greeting');

http.createServer((request, response) => response.end(greeting + '\n')).listen(Number(process.env.PORT || 8080));
